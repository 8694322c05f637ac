"""The figures of the index page, in a constant number of queries."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.cache import cache
from django.db import connection
from django.db.models import Aggregate, Count, FloatField, Q
from django.db.models.functions import TruncHour
from django.urls import reverse
from django.utils import timezone
from redis import RedisError

from enrollment.models import AudioSample, Customer
from mltraining import readings
from mltraining.models import ModelVersion
from voiceauth.platform.api.models import EXPIRES_SOON, ApiClient
from voiceauth.platform.api.serializers import rounded_probability
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure
from voiceauth.retraining import evidence
from voiceauth.retraining.models import TrainingRun
from voiceauth.review.charts import progress_bar, stacked_bars
from voiceauth.screening.models import ReviewCase
from voiceauth.screening.risk import HIGH_RISK
from voiceauth.verification.models import Decision, DriftReport

HOURS = 24
SETTLED_AFTER = timedelta(minutes=2)  # a transaction that began in an hour may commit a little later
Tally = dict[str, tuple[int, int]]  # by result: how many decisions, and how many of them with a fraud risk
KINDS = ("accepted", "refused", "undecided")
ACCEPTED = {Decision.Result.ACCEPT, Decision.Result.MATCH}
REFUSED = {Decision.Result.REJECT, Decision.Result.NO_MATCH}


def summary(user: AbstractBaseUser | AnonymousUser) -> dict[str, Any]:
    """Return the figures that the signed-in person may see, by the name of the part of the page."""
    parts: dict[str, Any] = {}
    if user.has_perm("enrollment.view_customer"):  # type: ignore[union-attr]
        parts["customers"] = _customers()
    parts["waiting"] = _waiting(user)
    if user.has_perm("verification.view_decision"):  # type: ignore[union-attr]
        parts["decisions"] = _decisions()
        parts["scoring"] = _scoring()
    if user.has_perm("mltraining.view_modelversion"):  # type: ignore[union-attr]
        parts["models"] = {
            model.state: model
            for model in ModelVersion.objects.filter(
                state__in=[ModelVersion.State.ACTIVE, ModelVersion.State.PROMOTING]
            ).defer("config", "metrics")
        }
        if active := parts["models"].get(ModelVersion.State.ACTIVE):
            parts["evidence"] = _evidence(active)
            if user.has_perm("verification.view_driftreport"):  # type: ignore[union-attr]
                parts["drift"] = DriftReport.objects.filter(model=active).first()
    if user.has_perm("retraining.view_trainingrun"):  # type: ignore[union-attr]
        runs = TrainingRun.objects.defer("metrics", "resolved_config").filter(state__in=TrainingRun.OPEN)
        parts["run"] = run = runs.order_by("-state", "created_at").first()  # RUNNING before QUEUED
        parts["run_progress"] = progress_bar(run.progress_percent, run.phase) if run else ""
    if user.has_perm("audit.view_auditevent"):  # type: ignore[union-attr]
        parts["latest_event"] = AuditEvent.objects.only("sequence", "hash").first()
    return parts


def _evidence(model: ModelVersion) -> str:
    """Say from which probability the model accepts a call, and on how many trials that rests."""
    found = evidence.of(model)
    known = found.calibration
    trials = f"{known.target_trials:,} target and {known.impostor_trials:,} impostor trials" if known else "no trial"
    threshold = found.summary()["threshold"]
    if threshold is None or not found.is_sufficient:
        return f"Too little evidence for a false-accept rate of {found.target_far:g}: {trials}."
    accepts = f"A call without a tier is accepted from probability {rounded_probability(threshold)}"
    return f"{accepts}, for a false-accept rate of {found.target_far:g} ({trials})."


def _waiting(user: Any) -> list[tuple[int, str, str]]:
    """List what waits for a person: how many, what they are, and where their list is."""
    soon = timezone.now() + EXPIRES_SOON
    kinds = (
        (
            "enrollment.view_audiosample",
            AudioSample.objects.exclude(held_for=[]),
            ("recording held", "recordings held"),
            "",
        ),
        (
            "screening.view_reviewcase",
            ReviewCase.objects.exclude(state="CLOSED"),
            ("open review case", "open review cases"),
            "",
        ),
        (
            "approvals.view_approval",
            Approval.objects.filter(state="REQUESTED"),
            ("request to approve", "requests to approve"),
            "state__exact=REQUESTED",
        ),
        (
            "erasure.view_erasure",
            Erasure.objects.filter(state__in=Erasure.OPEN).exclude(error_code=""),
            ("erasure that fails", "erasures that fail"),
            "state__exact=QUEUED",
        ),
        (
            "api.view_apiclient",
            ApiClient.objects.filter(revoked_at=None, expires_at__lte=soon),
            ("token to rotate", "tokens to rotate"),
            "",
        ),
    )
    found = []
    for permission, rows, (one, several), query in kinds:
        if user.has_perm(permission) and (count := rows.count()):
            address = reverse(f"admin:{rows.model._meta.app_label}_{rows.model._meta.model_name}_changelist")
            found.append((count, one if count == 1 else several, f"{address}?{query}" if query else address))
    return found


def _customers() -> dict[str, Any]:
    states = dict(Customer.objects.order_by().values_list("state").annotate(Count("id")))
    return {"total": sum(states.values()), "enrolled": states.get("ENROLLED", 0), "states": sorted(states.items())}


def _decisions() -> dict[str, Any]:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=back) for back in reversed(range(HOURS))]
    counts: Counter[tuple[Any, str]] = Counter()
    results: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    flagged = 0
    for hour, tally in _tallies(hours).items():
        for result, (count, risky) in tally.items():
            kind = "accepted" if result in ACCEPTED else "refused" if result in REFUSED else "undecided"
            counts[hour, kind] += count
            kinds[kind] += count
            results[result] += count
            flagged += risky
    return {
        "total": results.total(),
        "results": results.most_common(),
        "rates": [(kind, 100 * kinds[kind] / results.total()) for kind in KINDS] if results else [],
        "flagged": flagged,
        "chart": stacked_bars(
            "Decisions of the last 24 hours",
            [f"{hour:%H:%M}" for hour in hours],
            {kind: [counts[hour, kind] for hour in hours] for kind in KINDS},
        ),
    }


def _tallies(hours: Sequence[datetime]) -> dict[datetime, Tally]:
    """Count the decisions of each hour, and those of them with a fraud risk.

    An hour that has ended is counted once in a process: decisions never change, and the page asks every few seconds.
    """
    database = connection.settings_dict["NAME"]
    keys = {hour: f"decisions:{database}:{hour:%Y%m%d%H}" for hour in hours}
    kept = cache.get_many(keys.values())
    known: dict[datetime, Tally] = {hour: kept[key] for hour, key in keys.items() if key in kept}
    missing = [hour for hour in hours if hour not in known]
    rows = (
        Decision.objects.filter(created_at__gte=missing[0])
        .order_by()
        .annotate(hour=TruncHour("created_at"))
        .values("hour", "decision")
        .annotate(count=Count("id"), risky=Count("id", filter=Q(fraud_risk__level=HIGH_RISK)))
        .values_list("hour", "decision", "count", "risky")
    )
    counted: dict[datetime, Tally] = {hour: {} for hour in missing}
    for hour, result, count, risky in rows:
        if hour in counted:
            counted[hour][result] = (count, risky)
    over = timezone.now() - timedelta(hours=1) - SETTLED_AFTER
    cache.set_many({keys[hour]: tally for hour, tally in counted.items() if hour <= over}, 3600 * (HOURS + 1))
    return known | counted


class Percentile(Aggregate):
    """The value below which a ``share`` of the rows lies, from 0 to 1."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


def _scoring() -> dict[str, Any]:
    """Return what waits for a scoring worker, and how long scoring took in the last hour."""
    latest = Decision.objects.filter(created_at__gte=timezone.now() - timedelta(hours=1))
    found: dict[str, Any] = latest.exclude(scoring_milliseconds=None).aggregate(
        scored=Count("id"),
        median=Percentile("scoring_milliseconds", share=0.5),
        most=Percentile("scoring_milliseconds", share=0.95),
    )
    try:
        found["waiting"] = int(sum(readings.queue_length().values()))
        found["oldest_seconds"] = int(max(readings.queue_age_seconds().values()))
    except RedisError:
        found["waiting"] = None
    return found
