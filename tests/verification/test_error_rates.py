"""Error rates by subgroup, on calls whose caller somebody found out later."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from enrollment.models import ConfirmedCall
from mltraining.models import ModelVersion
from tests.support.customers import make_customer, make_sample
from tests.support.model import make_model
from tests.support.rows import make_decision
from voiceauth.screening.models import ReviewCase
from voiceauth.verification.error_rates import by_subgroup
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> ModelVersion:
    make_sample(make_customer(), origin="branch")
    make_sample(make_customer("C-2"), origin="app")
    return make_model(state="ACTIVE", activated_at=timezone.now() - timedelta(days=40))


def closed(resolution: str, *calls: Decision, kind: str = "KNOWN_FRAUDSTER") -> None:
    evidence = [{"decision_id": str(call.pk)} for call in calls]
    ReviewCase.objects.create(
        kind=kind,
        state="CLOSED",
        resolution=resolution,
        evidence=evidence,
        customer_id=resolution,
        subject=str(calls[0]),
    )


def call(model: ModelVersion, **fields: Any) -> Decision:
    return make_decision(**{"model_version": model.version, "actor": "ivr-1"} | fields)


def counted(model: ModelVersion) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    return {
        (row["group"], row["value"]): (
            row["false_rejects"],
            row["genuine"],
            row["false_accepts"],
            row["impostors"],
        )
        for row in by_subgroup(model)
    }


def test_errors_are_counted_in_each_subgroup_of_labelled_calls(model: ModelVersion) -> None:
    customer = make_customer("C-3")
    confirmed = call(model, speech_seconds=2.0, snr_db=12.0)
    ConfirmedCall.objects.create(decision_id=confirmed.pk, customer=customer, method="one_time_code")
    closed("FALSE_ALARM", call(model, decision="REJECT", speech_seconds=4.0, customer_id="C-2", actor="app"))
    closed("CONFIRMED_FRAUD", call(model, speech_seconds=2.5), call(model, decision="REJECT", speech_seconds=9.0))
    found = counted(model)
    assert found["all", "all calls"] == (1, 2, 1, 2)
    assert [key for key in found if key[0] == "net speech"] == [
        ("net speech", "below 3 s"),
        ("net speech", "3 to 6 s"),
        ("net speech", "6 s and more"),
    ]
    assert found["net speech", "below 3 s"] == (0, 1, 1, 1)
    assert found["net speech", "6 s and more"] == (0, 0, 0, 1)
    assert found["signal to noise", "below 15 dB"] == (0, 1, 0, 0)
    assert found["called through", "app"] == (1, 1, 0, 0)
    assert found["enrolled through", "app"] == (1, 1, 0, 0)
    assert found["enrolled through", "branch"] == (0, 1, 1, 2)
    assert not any(group == "tier" for group, _ in found)  # all of one value


def test_calls_without_a_plain_truth_or_of_another_model_are_not_counted(model: ModelVersion) -> None:
    both = call(model)
    closed("CONFIRMED_FRAUD", both)
    ConfirmedCall.objects.create(decision_id=both.pk, customer=make_customer("C-3"), method="one_time_code")
    closed("FALSE_ALARM", call(model, model_version="another"), call(model, decision="REJECT", reasons=["REPLAY"]))
    closed("INCONCLUSIVE", call(model))
    closed("CONFIRMED_FRAUD", call(model), kind="REPLAY")
    make_decision(model_version=model.version)  # nobody knows who that was
    assert by_subgroup(model) == []
