"""A full database, written by PostgreSQL itself (``generate_series``), so that a million calls take a minute or two.

The rows are made up, and nothing in them is sealed: pages that list them read them, and no voice can be scored. The
audit trail has no valid chain, because no page that is measured verifies it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.models import BigAutoField, DateTimeField, Model, UUIDField

from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.models import AudioSample, Consent, ConsentText, Customer, Voiceprint
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.models import AuditEvent, ChainHead
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from voiceauth.policies.models import PolicyVersion
from voiceauth.retraining.models import TrainingRun
from voiceauth.screening.models import CaseComment, Fraudster, ReviewCase, Watchlist
from voiceauth.verification.models import CallAudio, Decision, DriftReport

KINDS = ("customer", "decision", "watchlist", "fraudster", "batch", "endpoint")
MODELS = 20  # of which the latest is in service
CALLERS = 200_000
BATCHES, ENDPOINTS, WATCHLISTS = 10, 5, 10

# The SQL of a column, in which n counts the rows, of which there are {count}; r and s are random numbers from 0 to 1.
DECISION = """CASE
    WHEN s > 0.9 THEN CASE WHEN r < 0.7 THEN 'MATCH' ELSE 'NO_MATCH' END
    WHEN r < 0.86 THEN 'ACCEPT' WHEN r < 0.93 THEN 'REJECT' WHEN r < 0.97 THEN 'NOT_ENOUGH_SPEECH'
    WHEN r < 0.99 THEN 'INCONCLUSIVE' WHEN r < 0.995 THEN 'SPEAKER_NOT_ENROLLED' WHEN r < 0.999 THEN 'SPEAKER_LOCKED'
    WHEN r < 0.9999 THEN 'TOO_MANY_ATTEMPTS' ELSE 'SPEAKER_EXPIRED' END"""
RISK = """CASE
    WHEN r > 0.86 AND r < 0.865 THEN '{"level": "HIGH_RISK", "reasons": [{"code": "REPLAY", "score": 0.93}]}'
    WHEN r > 0.87 AND r < 0.872
    THEN '{"level": "HIGH_RISK", "reasons": [{"code": "KNOWN_FRAUDSTER", "score": 0.9}]}'
    WHEN r > 0.88 AND r < 0.8801 THEN '{"level": "HIGH_RISK", "reasons": [{"code": "VELOCITY", "score": 0.8}]}'
    ELSE '{"level": "LOW_RISK", "reasons": []}' END::jsonb"""
REASONS = """CASE
    WHEN r > 0.86 AND r < 0.865 THEN '["REPLAY"]' WHEN r >= 0.97 AND r < 0.98 THEN '["TOO_NOISY"]'
    WHEN r >= 0.98 AND r < 0.99 THEN '["CLIPPED"]' WHEN r > 0.9 AND r < 0.9001 THEN '["MORE_THAN_ONE_SPEAKER"]'
    ELSE '[]' END::jsonb"""
ACTION = """CASE
    WHEN s > 0.17 THEN 'decision.made'
    WHEN r < 0.5 THEN 'enrollment.accepted' WHEN r < 0.9 THEN 'consent.given' WHEN r < 0.9999 THEN 'case.opened'
    ELSE 'request.refused' END"""
CALIBRATION = """'{"slope": 12.0, "offset": -5.0, "prior": 0.5,
    "thresholds": [[0.001, 4.2], [0.01, 2.1]]}'::jsonb"""
EVIDENCE = """jsonb_build_array(jsonb_build_object(
    'at', '2026-11-26T12:00:00+00:00', 'reason', 'REPLAY', 'score', 0.93, 'decision_id', """


def seed(*, calls: int, customers: int, days: int) -> None:
    """Write ``calls`` decisions of the last ``days``, ``customers``, and of everything else what goes with them."""
    customer, decision = "'C-' || lpad((1 + (r * {customers})::int)::text, 7, '0')", _id("decision")
    sizes = {"calls": calls, "customers": customers, "models": MODELS}
    ago = f"now() - interval '{days} days' * " + "(1 - n / {count}::float)"
    _models(ago)
    _write(
        Customer,
        customers,
        id=_id("customer"),
        customer_id="'C-' || lpad(n::text, 7, '0')",
        display_name="initcap(substr(md5(n::text), 1, 6) || ' ' || substr(md5((n % 5000)::text), 1, 7))",
        state="CASE WHEN r < 0.9 THEN 'ENROLLED' WHEN r < 0.95 THEN 'ENROLLING' WHEN r < 0.98 THEN 'PENDING' "
        "WHEN r < 0.99 THEN 'OPTED_OUT' WHEN r < 0.9995 THEN 'EXPIRED' ELSE 'LOCKED' END",
        data_key="decode(repeat('00', 60), 'hex')",
        speech_seconds="10 + 40 * s",
        created_at=ago,
        enrolled_at=ago,
    )
    _write(ConsentText, 20, version="'text-' || n", text="repeat('We keep your voice. ', 200)", created_at=ago)
    of_customer = _id("customer", "1 + n % {customers}")
    _write(
        Consent,
        customers,
        customer_id=of_customer,
        purpose="'voice_authentication'",
        text_version="'text-' || (1 + n % 20)",
        text_sha256="md5('a') || md5('b')",
        origin="'branch'",
        granted_by="'teller-app'",
        sizes=sizes,
    )
    _write(
        AudioSample,
        2 * customers,
        customer_id=of_customer,
        created_at=ago,
        created_by="'teller-app'",
        sha256="md5(n::text) || md5((n + 1)::text)",
        container="'wav'",
        codec="'pcm_mulaw'",
        sample_rate="8000",
        byte_count="160000",
        duration_seconds="20",
        speech_seconds="12 + 8 * r",
        snr_db="15 + 10 * s",
        clipping_ratio="0",
        held_for="CASE WHEN s < 0.005 THEN '[\"APPROVAL\"]' ELSE '[]' END::jsonb",
        sizes=sizes,
    )
    _write(
        Voiceprint,
        customers,
        customer_id=of_customer,
        model_fingerprint=f"md5('model{MODELS}') || md5('model{MODELS}')",
        content="decode(repeat('00', 800), 'hex')",
        sample_count="2",
        speech_seconds="30",
        revision="n",
        sizes=sizes,
    )
    _write(
        Decision,
        calls,
        id=decision,
        kind="CASE WHEN s > 0.9 THEN 'identify' ELSE 'verify' END",
        customer_id=customer,
        decision=DECISION,
        reasons=REASONS,
        fraud_risk=RISK,
        probability="CASE WHEN r < 0.86 THEN 0.9 + r / 10 ELSE 1 - r END",
        threshold="0.5",
        log_likelihood_ratio="12 * (0.86 - r)",
        score="0.8 - r / 2",
        speech_seconds="4 + 10 * s",
        snr_db="12 + 15 * s",
        clipping_ratio="0",
        model_version="'model-' || (1 + ({models} - 1) * n / {count})",
        model_fingerprint="md5('a') || md5('b')",
        calibration_version="'c1'",
        tier="CASE WHEN s < 0.3 THEN 'transfer' WHEN s < 0.35 THEN 'balance' ELSE '' END",
        caller=f"md5('caller' || (s * {CALLERS})::int) || md5('caller')",
        actor="'ivr-' || (1 + n % 3)",
        request_id="(md5('request' || n)::uuid)::text",
        scoring_milliseconds="60 + 90 * s",
        created_at=ago,
        sizes=sizes,
    )
    _write(
        CallAudio,
        min(calls, customers),
        decision_id=_id("decision", "1 + {calls} - n"),
        customer_id=of_customer,
        content="'audio/' || n",
        expires_at="now() + interval '30 days'",
        sizes=sizes,
    )
    _write(
        AuditEvent,
        calls + 2 * customers,
        sequence="n",
        occurred_at=ago,
        action=ACTION,
        outcome="CASE WHEN s < 0.0001 THEN 'failed' WHEN s < 0.02 THEN 'refused' ELSE 'success' END",
        actor="CASE WHEN s > 0.17 THEN 'ivr-' || (1 + n % 3) WHEN r < 0.9999 THEN 'teller-app' ELSE 'user:rita' END",
        role="CASE WHEN s > 0.17 THEN 'ivr' WHEN r < 0.9999 THEN 'teller' ELSE 'reviewer' END",
        ip_address="'10.0.0.' || n % 250",
        request_id="(md5('request' || n)::uuid)::text",
        customer_id=customer,
        target="'decision:' || " + _id("decision", "1 + n % {calls}"),
        after='\'{"decision": "ACCEPT", "probability": 0.98}\'::jsonb',
        data='\'{"threshold": 0.5, "tier": "transfer", "calibration_version": "c1"}\'::jsonb',
        previous_hash="md5(n::text) || md5('p')",
        hash="md5((n + 1)::text) || md5('p')",
        sizes=sizes,
    )
    last = calls + 2 * customers
    head = {"sequence": last, "hash": chain.GENESIS_HASH, "seal": chain.head_seal(last, chain.GENESIS_HASH)}
    ChainHead.objects.update_or_create(pk=chain.HEAD_ID, defaults=head)  # so that events can be written after it
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('audit_event_number', %s)", [last])
    _fraud(calls // 100, ago, customer)
    _jobs(customers, ago, customer)


def _id(kind: str, number: str = "n") -> str:
    """Return the SQL of the id of a row: ids that grow are written faster than random ones."""
    return f"('{1 + KINDS.index(kind):08x}-0000-4000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


def _models(ago: str) -> None:
    _write(
        ModelVersion,
        MODELS,
        version="'model-' || n",
        fingerprint="md5('model' || n) || md5('model' || n)",
        state="CASE WHEN n = {count} THEN 'ACTIVE' WHEN r < 0.5 THEN 'RETIRED' ELSE 'CANDIDATE' END",
        calibration_version="'c1'",
        metrics='\'{"roc_auc": 0.9997, "eer": 0.0061, "target_trials": 615, "impostor_trials": 30135}\'::jsonb',
        created_at=ago,
        activated_at="now()",
    )
    _write(
        Calibration,
        MODELS,
        model_id="'model-' || n",
        version="'c1'",
        parameters=CALIBRATION,
        target_trials="5000",
        impostor_trials="200000",
        speakers="200",
        strangers="true",
        source="'trials of strangers'",
    )
    _write(
        DriftReport,
        200,
        model_id=f"'model-{MODELS}'",
        since=f"{ago} - interval '7 days'",
        until=ago,
        reference_since=ago,
        reference_until=ago,
        measures='\'{"score": {"psi": 0.41, "edges": [0.4, 0.6], "reference": [0.2, 0.5, 0.3], '
        '"recent": [0.7, 0.2, 0.1], "reference_calls": 600, "recent_calls": 600}}\'::jsonb',
        alarms="'[\"score\"]'::jsonb",
    )
    epochs = "(SELECT jsonb_agg(jsonb_build_object('epoch', e, 'train_loss', 1.0 / e)) FROM generate_series(1, 30) e)"
    ended = {"requested_by": "'user:grace'", "finished_at": "now()", "created_at": ago}
    _write(TrainingRun, 300, state="'SUCCEEDED'", metrics=epochs, speakers="500", **ended)
    _write(PolicyVersion, 100, number="n", reason="'the auditors asked'", created_by="'user:grace'", content="'{}'")
    _write(
        ApiClient,
        200,
        name="'client-' || n",
        role="'ivr'",
        token_hash="md5('token' || n) || md5('t')",  # noqa: S106  SQL
        expires_at="now() + interval '90 days'",
    )


def _fraud(cases: int, ago: str, customer: str) -> None:
    sizes = {"customers": 100_000}
    _write(Watchlist, WATCHLISTS, id=_id("watchlist"), name="'list ' || n")
    _write(
        Fraudster,
        cases,
        id=_id("fraudster"),
        source="'upload'",
        data_key="decode(repeat('00', 60), 'hex')",
        speech_seconds="20",
        created_by="'user:rita'",
        created_at=ago,
        expires_at="now() + interval '1 year'",
    )
    _write(
        Fraudster.watchlists.through,
        cases,
        fraudster_id=_id("fraudster"),
        watchlist_id=_id("watchlist", f"1 + n % {WATCHLISTS}"),
    )
    _write(
        ReviewCase,
        cases,
        kind="CASE WHEN r < 0.6 THEN 'REPLAY' WHEN r < 0.9 THEN 'KNOWN_FRAUDSTER' ELSE 'VELOCITY' END",
        customer_id=customer,
        subject="n::text",
        state="CASE WHEN n > 0.98 * {count} THEN 'OPEN' WHEN n > 0.97 * {count} THEN 'ASSIGNED' ELSE 'CLOSED' END",
        resolution="CASE WHEN n > 0.97 * {count} THEN '' WHEN s < 0.3 THEN 'CONFIRMED_FRAUD' ELSE 'FALSE_ALARM' END",
        assigned_to="CASE WHEN n > 0.98 * {count} THEN '' ELSE 'user:rita-' || n % 20 END",
        evidence=EVIDENCE + _id("decision", "100 * n") + "))",
        opened_at=ago,
        closed_at="CASE WHEN n > 0.97 * {count} THEN NULL ELSE " + ago + " END",
        sizes=sizes,
    )
    first_case = f"(SELECT min({ReviewCase._meta.pk.column}) FROM {ReviewCase._meta.db_table})"  # noqa: S608
    _write(
        CaseComment, cases, case_id=f"{first_case} - 1 + n", text="'The customer called back.'", author="'user:rita'"
    )


def _jobs(customers: int, ago: str, customer: str) -> None:
    sizes, ended = {"customers": customers}, {"requested_by": "'teller-app'", "created_at": ago, "finished_at": "now()"}
    _write(
        Erasure,
        customers // 20,
        state="'SUCCEEDED'",
        cause="CASE WHEN r < 0.8 THEN 'customer.erased' ELSE 'consent.withdrawn' END",
        subject="gen_random_uuid()",
        customer_id=customer,
        sizes=sizes,
        **ended,
    )
    _write(BatchEnrollment, BATCHES, id=_id("batch"), state="'SUCCEEDED'", total="1000", **ended)
    _write(
        BatchResult,
        customers,
        batch_id=_id("batch", f"1 + n % {BATCHES}"),
        line="n",
        customer_id="'C-' || lpad(n::text, 7, '0')",
        state="CASE WHEN r < 0.98 THEN 'ENROLLED' WHEN r < 0.99 THEN 'SKIPPED' ELSE 'FAILED' END",
        code="CASE WHEN r < 0.99 THEN '' WHEN r < 0.9999 THEN 'too_noisy' ELSE 'opted_out' END",
    )
    _write(
        Approval,
        1000,
        action="'customer.export_audio'",
        parameters="jsonb_build_object('customer_id', 'C-' || n)",
        reason="'a complaint'",
        state="CASE WHEN n > 980 THEN 'REQUESTED' ELSE 'EXECUTED' END",
        requested_by="'user:rita'",
        requested_at=ago,
        expires_at="now() + interval '1 day'",
    )
    _write(WebhookEndpoint, ENDPOINTS, id=_id("endpoint"), url="'https://bank.example/' || n")
    _write(
        WebhookDelivery,
        2 * customers,
        endpoint_id=_id("endpoint", f"1 + n % {ENDPOINTS}"),
        type="CASE WHEN r < 0.9 THEN 'decision.made' WHEN r < 0.9999 THEN 'case.opened' ELSE 'drift.alarm' END",
        body="'{}'",
        state="CASE WHEN s < 0.9995 THEN 'DELIVERED' ELSE 'FAILED' END",
        status="200",
        created_at=ago,
        next_attempt_at=ago,
    )


def _write(model: type[Model], count: int, *, sizes: Any = None, **columns: str) -> None:
    """Insert ``count`` rows, each column by its SQL, and the others by the default of their field."""
    names, expressions, values = [], [], []
    for field in model._meta.local_concrete_fields:
        assert field.column is not None
        given = columns.pop(field.column, None)
        if given is None and isinstance(field, BigAutoField):
            continue
        names.append(connection.ops.quote_name(field.column))
        if given is not None:
            expressions.append(_sized(given, {"count": count, **(sizes or {})}).replace("%", "%%"))
        elif isinstance(field, UUIDField) and not field.null:
            expressions.append("gen_random_uuid()")
        elif isinstance(field, DateTimeField) and not field.null:
            expressions.append("now()")
        else:
            expressions.append("%s")
            values.append(field.get_db_prep_save(field.get_default(), connection))
    assert not columns, f"{model.__name__} has no column {', '.join(columns)}"
    table = connection.ops.quote_name(model._meta.db_table)
    rows = f"(SELECT n, random() AS r, random() AS s FROM generate_series(1, {count}) AS n) AS row"  # noqa: S608
    with transaction.atomic(), connection.cursor() as cursor, _indexed_afterwards(cursor, model):
        statement = f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(expressions)} FROM {rows}"  # noqa: S608
        cursor.execute(statement, values)


@contextmanager
def _indexed_afterwards(cursor: Any, model: type[Model]) -> Iterator[None]:
    """Drop the indexes of a table, except those of its constraints, and make them again: that takes half the time."""
    cursor.execute(
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass "
        "AND NOT indisunique AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
        [model._meta.db_table],
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table whose references are not checked yet takes no index
    for _, definition in indexes:
        cursor.execute(definition)


def _sized(expression: str, sizes: dict[str, int]) -> str:
    for name, size in sizes.items():
        expression = expression.replace(f"{{{name}}}", str(size))
    return expression
