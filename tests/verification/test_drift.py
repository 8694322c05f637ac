"""Drift: a week of calls beside those that the model in service began with."""

import random
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from mltraining.models import ModelVersion
from tests.support.model import make_model
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.webhooks.events import webhook_of
from voiceauth.verification import drift
from voiceauth.verification.drift import LEAST_CALLS, stability_index
from voiceauth.verification.models import Decision, DriftReport

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> ModelVersion:
    return make_model(state="ACTIVE", activated_at=timezone.now() - timedelta(days=40))


def call_often(
    model: ModelVersion, at: datetime, *, score: float = 0.6, rejects: float = 0.1, count: int = 600
) -> None:
    """Verifications at one moment: scores of unit deviation in tenths, and a share that is rejected."""
    drawn = random.Random(int(at.timestamp()) % 1000)
    calls = [
        Decision(
            kind="verify",
            customer_id="C-1001",
            decision="REJECT" if number < rejects * count else "ACCEPT",
            score=drawn.gauss(score, 0.1),
            speech_seconds=drawn.gauss(8, 2),
            snr_db=drawn.gauss(20, 5),
            model_version=model.version,
            actor="ivr",
        )
        for number in range(count)
    ]
    made = Decision.objects.bulk_create(calls)
    Decision.objects.filter(pk__in=[each.pk for each in made]).update(created_at=at)


def in_the_reference() -> datetime:
    return timezone.now() - timedelta(days=30)


def in_the_week(days: float = 3) -> datetime:
    return timezone.now() - timedelta(days=days)


def test_the_index_is_zero_for_the_same_shares_and_known_for_others() -> None:
    assert stability_index([0.5, 0.5], [0.5, 0.5]) == 0
    assert stability_index([0.5, 0.5], [0.25, 0.75]) == pytest.approx(0.2747, abs=1e-4)
    assert stability_index([1, 0], [0.9, 0.1]) < 1  # an empty bin is no infinity


def test_calls_like_those_of_the_reference_are_no_drift(model: ModelVersion) -> None:
    call_often(model, in_the_reference())
    call_often(model, in_the_week())
    report = drift.watch()
    assert report is not None
    assert report.alarms == []
    assert set(report.measures) == {"score", "speech_seconds", "snr_db", "decision"}
    for measure in report.measures.values():
        assert measure["psi"] < drift.NOTICE
        assert sum(measure["recent"]) == pytest.approx(1, abs=1e-4)
        assert (measure["reference_calls"], measure["recent_calls"]) == (600, 600)
    assert report.measures["score"]["reference"] == pytest.approx([0.1] * 10, abs=0.01)
    assert not AuditEvent.objects.filter(action="drift.alarmed").exists()


def test_lower_scores_and_more_rejects_alarm_once_and_become_a_webhook(model: ModelVersion) -> None:
    call_often(model, in_the_reference())
    call_often(model, in_the_week(), score=0.45, rejects=0.4)
    report = drift.watch()
    assert report is not None and report.alarms == ["score", "decision"]
    assert drift.watch() is None  # the day has its report
    DriftReport.objects.update(until=report.until - timedelta(days=1))  # the next day finds the same
    again = drift.watch()
    assert again is not None and again.alarms == report.alarms
    event = AuditEvent.objects.get(action="drift.alarmed")
    expected = {"model_version": model.version, "measures": ["score", "decision"]}
    assert webhook_of(event) == ("drift.alarmed", expected)


def test_too_few_calls_and_calls_of_today_or_of_another_model_tell_nothing(model: ModelVersion) -> None:
    assert drift.watch() is None
    call_often(model, in_the_reference())
    call_often(model, in_the_week(), count=LEAST_CALLS - 1)
    call_often(model, timezone.now())
    call_often(make_model("20261101-000000-aaaaaa"), in_the_week())
    assert drift.watch() is None
    call_often(model, in_the_week(2), count=1)
    assert drift.watch() is not None


def test_a_measure_that_was_not_taken_is_left_out(model: ModelVersion) -> None:
    call_often(model, in_the_reference())
    call_often(model, in_the_week())
    Decision.objects.update(snr_db=None)
    report = drift.watch()
    assert report is not None and "snr_db" not in report.measures


def test_without_a_model_in_service_there_is_nothing_to_compare() -> None:
    assert drift.watch() is None
