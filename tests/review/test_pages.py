"""What the pages show and do, through the real services."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from enrollment.batches.models import BatchResult
from enrollment.models import AudioSample, Customer
from mltraining.models import ModelVersion
from tests.review.factories import keep_audio, make_customer, make_decision, make_model, make_run, make_sample, tone
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent, ChainHead
from voiceauth.platform.audit.services import record
from voiceauth.policies.models import PolicyVersion
from voiceauth.retraining.models import TrainingRun
from voiceauth.screening.models import Watchlist

pytestmark = pytest.mark.django_db
SignIn = Callable[[str], Client]


# --- audio --------------------------------------------------------------------------------------


def test_playing_a_call_streams_what_was_uploaded_and_is_recorded(signed_in: SignIn) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    response = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert response.content == tone(440)
    assert response["Content-Type"] == "audio/wav"
    assert "no-store" in response["Cache-Control"]
    event = AuditEvent.objects.get(action="decision.audio_played")
    assert (event.actor, event.role, event.customer_id) == ("user:rita", "reviewer", "C-1001")
    assert event.target == f"decision:{decision.pk}"
    assert event.model_version == decision.model_version


def test_playing_an_enrollment_recording_is_recorded_too(signed_in: SignIn) -> None:
    sample = make_sample(make_customer())
    response = signed_in("admin").get(f"/admin/enrollment/customer/samples/{sample.pk}/audio/")
    assert response.content == tone(301)
    event = AuditEvent.objects.get(action="enrollment.audio_played")
    assert (event.actor, event.customer_id, event.target) == ("user:grace", "C-1001", f"sample:{sample.pk}")


def test_no_audio_leaves_the_browser_where_the_trail_cannot_be_written(signed_in: SignIn) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    client = signed_in("reviewer")
    ChainHead.objects.update(seal="0" * 64)  # a forged head refuses every event
    client.raise_request_exception = False
    response = client.get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert response.status_code == 500
    assert b"RIFF" not in response.content


def test_audio_that_is_gone_is_a_404(signed_in: SignIn) -> None:
    decision = make_decision()
    client = signed_in("reviewer")
    assert client.get(f"/admin/verification/decision/{decision.pk}/audio/").status_code == 404
    assert (
        "There is no audio of this call"
        in client.get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    )


def test_audio_is_not_played_by_a_post(signed_in: SignIn) -> None:
    decision = make_decision()
    assert signed_in("reviewer").post(f"/admin/verification/decision/{decision.pk}/audio/").status_code == 405


# --- decisions ----------------------------------------------------------------------------------


def test_the_probability_is_drawn_against_its_threshold_in_words_too(signed_in: SignIn) -> None:
    make_decision(probability=0.9871, threshold=0.5)
    make_decision(decision="NOT_ENOUGH_SPEECH", probability=None)
    page = signed_in("reviewer").get("/admin/verification/decision/").content.decode()
    assert 'aria-label="Probability 0.9871, threshold 0.5000"' in page
    assert "no score" in page
    assert "20261124-203015-3fa9c1" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"decision__exact": "REJECT"}, {"C-2"}),
        ({"kind__exact": "identify"}, {"C-3"}),
        ({"model_version": "other"}, {"C-4"}),
        ({"q": "C-1"}, {"C-1"}),
        ({"customer_id": "C-4"}, {"C-4"}),
        ({}, {"C-1", "C-2", "C-3", "C-4"}),
    ],
)
def test_decisions_are_filtered(signed_in: SignIn, query: dict[str, str], expected: set[str]) -> None:
    make_decision("C-1")
    make_decision("C-2", decision="REJECT", probability=0.02)
    make_decision("C-3", kind="identify", decision="MATCH")
    make_decision("C-4", model_version="other")
    response = signed_in("reviewer").get("/admin/verification/decision/", query)
    assert {row.customer_id for row in response.context["cl"].result_list} == expected


def test_a_decision_shows_everything_that_it_rested_on(signed_in: SignIn) -> None:
    decision = make_decision(
        kind="identify",
        decision="MATCH",
        candidates=[{"customer_id": "C-77", "probability": 0.93}, {"customer_id": "C-78", "probability": 0.04}],
    )
    page = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    for part in ("8.93", "0.71", "21.0 dB", decision.model_fingerprint, "C-77", "Probability 0.0400", "5f1c3a52-req"):
        assert part in page


# --- customers ----------------------------------------------------------------------------------


def test_erasing_a_customer_asks_first_and_then_calls_the_service(signed_in: SignIn) -> None:
    customer = make_customer()
    make_sample(customer)
    client, path = signed_in("teller"), f"/admin/enrollment/customer/{customer.pk}/do/erase/"
    assert "Erase C-1001?" in client.get(path).content.decode()
    assert Customer.objects.filter(pk=customer.pk).exists()
    assert client.post(path).status_code == 302
    assert not AudioSample.objects.filter(customer_id=customer.pk).exists()
    event = AuditEvent.objects.get(action="customer.erased")
    assert (event.actor, event.role, event.customer_id) == ("user:tom", "teller", "C-1001")


def test_a_customer_s_name_is_escaped(signed_in: SignIn) -> None:
    customer = make_customer(display_name="<script>alert(1)</script>")
    client = signed_in("teller")
    for path in ("", f"{customer.pk}/change/", f"{customer.pk}/do/erase/"):
        assert "<script>alert" not in client.get(f"/admin/enrollment/customer/{path}").content.decode()


def test_an_action_needs_the_csrf_token(people: dict[str, Any]) -> None:
    customer = make_customer()
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["teller"])
    assert client.post(f"/admin/enrollment/customer/{customer.pk}/do/erase/").status_code == 403
    assert Customer.objects.filter(pk=customer.pk).exists()


# --- training -----------------------------------------------------------------------------------


def test_starting_a_run_queues_it_with_the_overrides_given(signed_in: SignIn) -> None:
    overrides = "training.epochs=15\n\n training.batch_size = 16 \n"
    response = signed_in("admin").post("/admin/retraining/trainingrun/do/start/", {"overrides": overrides})
    assert response.status_code == 302
    run = TrainingRun.objects.get()
    assert run.config == {"training.epochs": 15, "training.batch_size": 16}
    assert run.requested_by == "user:grace"


@pytest.mark.parametrize("overrides", ["epochs=3", "training.epochs", "training.epochs=[", "training.no_such_key=1"])
def test_overrides_that_cannot_be_used_are_refused_with_the_reason(signed_in: SignIn, overrides: str) -> None:
    response = signed_in("admin").post("/admin/retraining/trainingrun/do/start/", {"overrides": overrides})
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_cancelling_a_queued_run_cancels_it(signed_in: SignIn) -> None:
    run = make_run(state="QUEUED")
    signed_in("admin").post(f"/admin/retraining/trainingrun/{run.pk}/do/cancel/")
    run.refresh_from_db()
    assert run.state == "CANCELLED"


def test_cancelling_a_run_that_has_ended_is_refused_and_recorded(signed_in: SignIn) -> None:
    run = make_run(state="SUCCEEDED")
    response = signed_in("admin").post(f"/admin/retraining/trainingrun/{run.pk}/do/cancel/")
    assert "errorlist" in response.content.decode()
    assert AuditEvent.objects.filter(action="request.refused", actor="user:grace").exists()


def test_a_run_shows_its_curves_and_reloads_until_it_has_ended(signed_in: SignIn) -> None:
    run, client = make_run(), signed_in("admin")
    path = f"/admin/retraining/trainingrun/{run.pk}/change/"
    page = client.get(path).content.decode()
    assert 'aria-label="Loss over 7 epochs"' in page
    assert 'aria-label="ROC AUC over 7 epochs"' in page
    assert 'http-equiv="refresh"' in page
    TrainingRun.objects.update(state="SUCCEEDED")
    assert 'http-equiv="refresh"' not in client.get(path).content.decode()


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "button"), [("CANDIDATE", "promote"), ("RETIRED", "roll-back")])
def test_promoting_and_rolling_back_start_the_real_promotion(signed_in: SignIn, state: str, button: str) -> None:
    model, client = make_model(state=state), signed_in("admin")
    path = f"/admin/mltraining/modelversion/{model.pk}/do/{button}/"
    assert path in client.get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()
    assert client.post(path).status_code == 302
    model.refresh_from_db()
    assert (model.state, model.promotions.get().requested_by) == (ModelVersion.State.PROMOTING, "user:grace")
    assert AuditEvent.objects.filter(action="model.promotion_requested", actor="user:grace").exists()


def test_a_second_promotion_is_refused_while_one_is_under_way(signed_in: SignIn) -> None:
    make_model("20261101-000000-aaaaaa", state="PROMOTING")
    model = make_model()
    response = signed_in("admin").post(f"/admin/mltraining/modelversion/{model.pk}/do/promote/")
    assert "errorlist" in response.content.decode()
    model.refresh_from_db()
    assert model.state == ModelVersion.State.CANDIDATE


def test_the_active_model_offers_no_promotion(signed_in: SignIn) -> None:
    model = make_model(state="ACTIVE")
    assert "/do/" not in signed_in("admin").get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()


def test_a_model_s_charts_are_served_and_nothing_beside_them(signed_in: SignIn, settings: Any, tmp_path: Path) -> None:
    settings.VOICEAUTH_MODELS_DIR = tmp_path
    model = make_model()
    charts = tmp_path / model.version / "charts"
    charts.mkdir(parents=True)
    (charts / "roc.png").write_bytes(b"\x89PNG picture")
    (charts / "other.png").write_bytes(b"not listed")
    (charts.parent / "pipeline.json").write_text("{}")
    client, base = signed_in("reviewer"), f"/admin/mltraining/modelversion/{model.version}/charts"
    response: Any = client.get(f"{base}/roc.png")
    assert b"".join(response.streaming_content) == b"\x89PNG picture"
    assert f"{base}/roc.png" in client.get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()
    for name in ("other.png", "..%2fpipeline.json", "%2e%2e/pipeline.json"):
        assert client.get(f"{base}/{name}").status_code in {302, 404}
    assert signed_in("teller").get(f"{base}/roc.png").status_code == 403


# --- audit trail --------------------------------------------------------------------------------


def _tamper(statement: str) -> None:
    """As the table's owner would: with the triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")


def _write_trail(count: int = 5) -> None:
    for number in range(count):
        record(action="decision.made", actor=SYSTEM, customer_id=f"C-{number}")


def test_an_intact_trail_is_reported_as_intact_and_the_check_is_recorded(signed_in: SignIn) -> None:
    _write_trail()
    page = signed_in("reviewer").post("/admin/audit/auditevent/do/verify/").content.decode()
    assert "rows are unchanged" in page
    assert AuditEvent.objects.get(action="audit.verified").data["findings"] == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE audit_auditevent SET customer_id = 'C-9' WHERE sequence = 3", "changed"),
        ("DELETE FROM audit_auditevent WHERE sequence = 3", "removed"),
    ],
)
def test_verifying_finds_a_row_that_was_changed_or_removed(signed_in: SignIn, statement: str, finding: str) -> None:
    client = signed_in("reviewer")
    _write_trail()
    _tamper(statement)
    page = client.post("/admin/audit/auditevent/do/verify/").content.decode()
    assert "tampered" in page
    assert re.search(rf"<td>3</td><td>{finding}</td>", page)


def test_a_trail_too_long_for_a_web_request_is_left_to_the_command(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiceauth.review.admin.audit.MAX_ROWS", 2)
    client = signed_in("reviewer")
    _write_trail()
    assert "verify_audit_trail" in client.post("/admin/audit/auditevent/do/verify/").content.decode()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"customer_id": "C-1"}, 1),
        ({"action": "decision.made"}, 5),
        ({"outcome__exact": "failed"}, 0),
        ({"q": "C-2"}, 1),
    ],
)
def test_the_trail_is_filtered(signed_in: SignIn, query: dict[str, str], count: int) -> None:
    client = signed_in("reviewer")
    _write_trail()
    assert client.get("/admin/audit/auditevent/", query).context["cl"].result_count == count


# --- API clients --------------------------------------------------------------------------------


def test_a_new_client_s_token_is_shown_once_and_no_page_shows_its_hash(signed_in: SignIn) -> None:
    client = signed_in("admin")
    response = client.post("/admin/api/apiclient/do/create/", {"name": "IVR Vienna", "role": "ivr", "days": "30"})
    token = re.search(r"va_ivr_[\w-]+", response.content.decode())
    assert token is not None
    assert "no-store" in response["Cache-Control"]
    made = ApiClient.objects.get()
    assert made.expires_at is not None
    for path in ("", f"{made.pk}/change/"):
        page = client.get(f"/admin/api/apiclient/{path}").content.decode()
        assert token.group() not in page
        assert made.token_hash not in page
    assert AuditEvent.objects.get(action="client.created").actor == "user:grace"


def test_a_name_that_is_taken_is_refused(signed_in: SignIn) -> None:
    client, form = signed_in("admin"), {"name": "IVR", "role": "ivr"}
    client.post("/admin/api/apiclient/do/create/", form)
    assert "exists already" in client.post("/admin/api/apiclient/do/create/", form).content.decode()
    assert ApiClient.objects.count() == 1


def test_a_revoked_client_offers_no_second_revocation(signed_in: SignIn) -> None:
    row = ApiClient.objects.create(name="IVR", role="ivr", token_hash="f" * 64)
    client = signed_in("admin")
    client.post(f"/admin/api/apiclient/{row.pk}/do/revoke/")
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert "/do/revoke/" not in client.get(f"/admin/api/apiclient/{row.pk}/change/").content.decode()


def test_rotating_shows_the_new_token_once_and_says_how_long_the_old_one_is_taken(signed_in: SignIn) -> None:
    client = signed_in("admin")
    client.post("/admin/api/apiclient/do/create/", {"name": "IVR", "role": "ivr", "scopes": ["calls:verify"]})
    before = ApiClient.objects.get()
    assert (before.scopes, before.issued_by) == (["calls:verify"], "user:grace")
    page = client.post(f"/admin/api/apiclient/{before.pk}/do/rotate/", {"overlap": "24"}).content.decode()
    assert re.search(r"va_ivr_[\w-]+", page) and "The previous token stays valid until" in page
    after = ApiClient.objects.get()
    assert (after.previous_token_hash, after.token_hash != before.token_hash) == (before.token_hash, True)
    assert AuditEvent.objects.get(action="client.rotated").actor == "user:grace"


def test_a_client_s_rates_are_changed_on_its_page(signed_in: SignIn) -> None:
    row = ApiClient.objects.create(name="IVR", role="ivr", token_hash="f" * 64)
    client = signed_in("admin")
    assert client.post(f"/admin/api/apiclient/{row.pk}/do/limit/", {"calls": "6000"}).status_code == 302
    row.refresh_from_db()
    assert row.rate_limits == {"calls": 6000}
    assert "6000" in client.get(f"/admin/api/apiclient/{row.pk}/change/").content.decode()


# --- the overview -------------------------------------------------------------------------------


def test_the_overview_tells_a_reviewer_what_happened_and_a_teller_only_of_customers(signed_in: SignIn) -> None:
    make_customer()
    make_decision()
    make_decision(decision="REJECT", probability=0.1)
    model = make_model(state="ACTIVE")
    page = signed_in("reviewer").get("/admin/").content.decode()
    calibration = model.calibrations.get()
    trials = f"{calibration.target_trials:,} target and {calibration.impostor_trials:,} impostor trials"
    assert "A call without a tier is accepted from probability" in page and trials in page
    model.calibrations.update(impostor_trials=6)
    assert "Too little evidence" in signed_in("reviewer").get("/admin/").content.decode()
    for part in ("Decisions, last 24 hours", "<b>1</b> ACCEPT", "<b>1</b> REJECT", "Active for 3", "enrolled of 1"):
        assert part in page
    page = signed_in("teller").get("/admin/").content.decode()
    assert "enrolled of 1" in page
    assert "Decisions" not in page
    assert "Audit trail" not in page


def test_the_overview_counts_the_tokens_that_end_soon_for_who_may_see_them(signed_in: SignIn) -> None:
    now = timezone.now()
    for number, (days, revoked_at) in enumerate([(29, None), (31, None), (1, now), (-1, None)]):
        ends = {"expires_at": now + timedelta(days=days), "revoked_at": revoked_at}
        ApiClient.objects.create(name=f"IVR {number}", role="ivr", token_hash=f"{number:064x}", **ends)
    tile = '<a class="va-count" href="/admin/api/apiclient/"><b>2</b> tokens to rotate</a>'
    assert tile in signed_in("admin").get("/admin/").content.decode()
    assert "tokens to rotate" not in signed_in("reviewer").get("/admin/").content.decode()


def test_the_overview_says_so_where_nothing_is_there_yet(signed_in: SignIn) -> None:
    page = signed_in("admin").get("/admin/").content.decode()
    for part in ("No call yet", "Calls are not scored until a model is trained", "No run is queued"):
        assert part in page


@pytest.mark.parametrize(
    "path",
    [
        "",
        "verification/decision/",
        "enrollment/customer/",
        "enrollment/audiosample/",
        "mltraining/modelversion/",
        "retraining/trainingrun/",
        "policies/policyversion/",
    ],
)
def test_the_number_of_queries_does_not_grow_with_the_rows(signed_in: SignIn, path: str) -> None:
    client = signed_in("superuser")

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(f"/admin/{path}").status_code == 200
        return len(captured)

    def add(number: int) -> None:
        customer = make_customer(f"C-{number}")
        make_sample(customer)
        make_sample(customer, 2, held_for=["APPROVAL"])
        PolicyVersion.objects.create(number=number, content={}, reason="why", created_by="user:grace")
        make_decision(f"C-{number}")
        model = make_model(f"20261124-203015-{number:06d}")
        make_run(state="SUCCEEDED", model=model)

    add(1)
    queries()  # content types are cached from here on
    few = queries()
    for number in range(2, 12):
        add(number)
    assert queries() == few
    assert few <= 20


def test_pages_carry_no_inline_script_and_no_inline_style(signed_in: SignIn) -> None:
    client, run, decision = signed_in("superuser"), make_run(), make_decision()
    model, customer = make_model(), make_customer()
    held, watchlist = make_sample(customer, held_for=["APPROVAL"]), Watchlist.objects.get(is_default=True)
    PolicyVersion.objects.create(number=1, content={}, reason="why", created_by="user:grace")
    for path in (
        "",
        f"retraining/trainingrun/{run.pk}/change/",
        f"mltraining/modelversion/{model.pk}/change/",
        f"verification/decision/{decision.pk}/change/",
        f"enrollment/customer/{customer.pk}/change/",
        "audit/auditevent/",
        "api/apiclient/do/create/",
        "enrollment/audiosample/",
        f"enrollment/audiosample/{held.pk}/change/",
        f"enrollment/customer/{customer.pk}/do/lock/",
        "policies/policyversion/1/change/",
        "policies/policyversion/do/change/",
        f"screening/watchlist/{watchlist.pk}/do/add/",
    ):
        page = client.get(f"/admin/{path}").content.decode()
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page), path
        assert not re.search(r"<style|\sstyle=|\son\w+=", page), path


def test_every_row_on_the_dashboard_has_a_title_of_its_own() -> None:
    shown = [admin.site._registry[model] for model in admin.site._registry]
    models = {page.model for page in shown} | {inline.model for page in shown for inline in page.inlines}
    assert BatchResult in models
    assert [model.__name__ for model in models if model.__str__ is Model.__str__] == []
