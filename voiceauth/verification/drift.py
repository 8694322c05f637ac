"""Drift: whether the calls of the last week still look like those that the model in service began with.

Compared are the scores, the quality of the recordings and the decisions, by the population stability index: the sum of
(p - q) · ln(p / q) over bins, where p and q are the shares of the week and of the reference. By custom, below 0.1 is no
change and from 0.25 on the population is another one (Siddiqi, "Credit Risk Scorecards", 2006). Drift does not say that
decisions are wrong. It says that the model serves other calls than it was judged by, so that somebody should look.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.verification.error_rates import by_subgroup
from voiceauth.verification.models import Decision, DriftReport

WEEK = timedelta(days=7)
REFERENCE = timedelta(days=28)  # the first days of a model in service
BINS = 10
# Two samples of 500 from the same calls have an index of about (BINS - 1) · 2 / 500 = 0.04 by chance.
LEAST_CALLS = 500
NOTICE, ALARM = 0.1, 0.25
LEAST_SHARE = 1e-4  # that a bin counts as, so that an empty one has a logarithm

# Of verifications. The score does not depend on the calibration, so that a new one is no drift.
NUMBERS = ("score", "speech_seconds", "snr_db")
DECISIONS = "decision"


def watch() -> DriftReport | None:
    """Compare the last seven full days with the reference, and store the report. Safe to repeat.

    Records ``drift.alarmed`` where a measure reaches ALARM that did not in the report before. Returns ``None`` where
    the day has its report, where no model is in service, and where there are too few calls to tell.
    """
    model = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()
    until = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    if model is None or model.activated_at is None or DriftReport.objects.filter(model=model, until=until).exists():
        return None
    since = until - WEEK
    reference_until = min(model.activated_at + REFERENCE, since)
    reference = _calls(model, model.activated_at, reference_until)
    week = _calls(model, since, until)
    if min(reference.count(), week.count()) < LEAST_CALLS:
        return None
    measures = {name: _of_numbers(name, reference, week) for name in NUMBERS}
    measures[DECISIONS] = _of_decisions(reference, week)
    found = {name: measure for name, measure in measures.items() if measure is not None}
    alarms = [name for name, measure in found.items() if measure["psi"] >= ALARM]
    errors = by_subgroup(model)
    before = DriftReport.objects.filter(model=model).first()
    try:
        with transaction.atomic():
            report = DriftReport.objects.create(
                model=model,
                since=since,
                until=until,
                reference_since=model.activated_at,
                reference_until=reference_until,
                measures=found,
                alarms=alarms,
                errors=errors,
            )
            if set(alarms) - set(before.alarms if before else ()):
                record(
                    action="drift.alarmed",
                    actor=SYSTEM,
                    target=f"model:{model.version}",
                    model_version=model.version,
                    after={"measures": alarms},
                    data={"psi": {name: round(found[name]["psi"], 4) for name in alarms}},
                )
    except IntegrityError:
        return None  # another worker was faster
    return report


def stability_index(reference: Sequence[float], recent: Sequence[float]) -> float:
    """Return the population stability index of shares in the same bins; 0 where they are the same."""
    pairs = ((max(p, LEAST_SHARE), max(q, LEAST_SHARE)) for p, q in zip(recent, reference, strict=True))
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def _calls(model: ModelVersion, since: datetime, until: datetime) -> QuerySet[Decision]:
    return Decision.objects.filter(
        model_version=model.version, kind=Decision.Kind.VERIFY, created_at__gte=since, created_at__lt=until
    ).order_by()


def _of_numbers(name: str, reference: QuerySet[Decision], week: QuerySet[Decision]) -> dict[str, Any] | None:
    """Compare a number in bins that hold a tenth of the reference each; ``None`` where it was measured too rarely."""
    edges = _deciles(name, reference)
    if not edges:
        return None
    before, after = (_counts(name, calls, edges) for calls in (reference, week))
    if min(sum(before), sum(after)) < LEAST_CALLS:
        return None
    return _compared(before, after) | {"edges": edges}


def _of_decisions(reference: QuerySet[Decision], week: QuerySet[Decision]) -> dict[str, Any]:
    counts: list[Mapping[str, int]] = [
        dict(calls.values_list("decision").annotate(Count("pk"))) for calls in (reference, week)
    ]
    names = sorted(set(counts[0]) | set(counts[1]))
    before, after = ([each.get(name, 0) for name in names] for each in counts)
    return _compared(before, after) | {"names": names}


def _compared(before: Sequence[int], after: Sequence[int]) -> dict[str, Any]:
    shares = [[count / max(sum(counts), 1) for count in counts] for counts in (before, after)]
    return {
        "psi": stability_index(*shares),
        "reference": [round(share, 6) for share in shares[0]],
        "recent": [round(share, 6) for share in shares[1]],
        "reference_calls": sum(before),
        "recent_calls": sum(after),
    }


def _deciles(name: str, calls: QuerySet[Decision]) -> list[float]:
    """Return the inner limits of the bins, without repetitions. The database sorts; no row is read here."""
    fractions = [step / BINS for step in range(1, BINS)]
    query, parameters = calls.exclude(**{name: None}).values(name).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT percentile_cont(%s::float8[]) WITHIN GROUP (ORDER BY "{name}") FROM ({query}) AS calls',  # noqa: S608
            [fractions, *parameters],
        )
        (found,) = cursor.fetchone()
    return sorted(set(found or ()))


def _counts(name: str, calls: QuerySet[Decision], edges: Sequence[float]) -> list[int]:
    """Count the calls in each bin, in order: from each limit on."""
    query, parameters = calls.exclude(**{name: None}).values(name).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT width_bucket("{name}", %s::float8[]) AS bin, count(*) FROM ({query}) AS calls GROUP BY bin',  # noqa: S608
            [list(edges), *parameters],
        )
        found = dict(cursor.fetchall())
    return [found.get(index, 0) for index in range(len(edges) + 1)]
