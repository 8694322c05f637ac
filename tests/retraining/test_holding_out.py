"""Customers who train nothing, so that a retrained model can be tested on them."""

import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enrollment.models import AudioSample, Customer
from enrollment.services import erase_customer
from mltraining import scorer
from mltraining.models import ModelVersion
from mltraining.speech.evaluation.trials import ScoredTrials
from tests.support.customers import enrolled
from tests.support.model import register_untrained
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.retraining import customer_trials, evidence, holding_out, services, training, training_data
from voiceauth.retraining.models import TrainingRun, TrainingSpeaker
from voiceauth.retraining.training_settings import START_WEIGHTS, resolve, starts_without_customers

ADMIN = Actor(name="ops", role="admin")


def recordings_of(customers: int, *, each: int = 4) -> dict[uuid.UUID, int]:
    return {uuid.UUID(int=number): each for number in range(1, customers + 1)}


def test_as_many_customers_are_left_out_as_the_rate_needs() -> None:
    chosen = holding_out.choose(recordings_of(60), 0.01)
    assert chosen == {uuid.UUID(int=number) for number in range(1, 12)}  # 44 target and 440 impostor trials
    assert len(holding_out.choose(recordings_of(1000), 0.001)) == 30  # 3480 impostor trials, of 3300
    assert holding_out.choose(recordings_of(61), 0.01) == chosen  # the same ones after another enrollment


@pytest.mark.parametrize(
    ("recordings", "target_far"),
    [
        (recordings_of(54), 0.01),  # a fifth of them are ten
        (recordings_of(60), 0.001),
        (recordings_of(1000, each=1), 0.01),  # nothing to compare a recording with
        ({}, 0.01),
    ],
)
def test_nobody_is_left_out_where_that_would_prove_nothing_or_cost_too_much(
    recordings: dict[uuid.UUID, int], target_far: float
) -> None:
    assert holding_out.choose(recordings, target_far) == frozenset()


def tried(model: ModelVersion, trained: Collection[uuid.UUID] = ()) -> ScoredTrials:
    pipeline = scorer.load(model.version).pipeline
    return customer_trials.trials_of(pipeline, trained=trained, progress=lambda done, total: None)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_recogniser")
def test_each_recording_is_tried_against_its_customers_others_and_every_other_customer(tmp_path: Path) -> None:
    model, customers = register_untrained(tmp_path), [enrolled(number, clips=3) for number in (1, 2, 3)]
    enrolled(4, clips=1)  # nothing to compare the recording with
    trained = enrolled(5)
    found = tried(model, {trained.pk})
    assert (int(found.is_target.sum()), int((~found.is_target).sum())) == (9, 18)
    assert len(set(found.speakers)) == len(customers)

    # The first trial by hand: a recording, and the mean of the other two.
    first = min(customers, key=lambda each: each.pk)
    pipeline = scorer.load(model.version).pipeline
    vectors = [
        customer_trials._clip(pk, pipeline) for pk in training_data.exportable()[first.pk]
    ]  # one and a half seconds each, so the mean is not weighted
    tested, *others = (each.embedding for each in vectors if each is not None)
    mean = np.mean(others, axis=0)
    assert found.scores[found.is_target][0] == pytest.approx(tested @ mean / np.linalg.norm(mean), abs=1e-5)
    assert np.asarray(found.measures.enrollment_speech_seconds)[found.is_target][0] == pytest.approx(2 * 1.2)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_recogniser")
def test_who_is_erased_or_held_is_not_tried(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    gone, held, _, _ = (enrolled(number, clips=2) for number in (1, 2, 3, 4))
    erase_customer(customer_id=gone.customer_id, actor=SYSTEM)
    AudioSample.objects.filter(customer=held).update(held_for=["REVIEW"])
    assert int(tried(model).is_target.sum()) == 4
    Customer.objects.exclude(pk=gone.pk).update(state=Customer.State.LOCKED)
    with pytest.raises(ValueError, match="fewer than two customers"):
        tried(model)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_recogniser")
def test_a_retrain_of_enough_customers_can_be_promoted_by_one_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding_out, "MOST_SHARE", 0.5)
    customers = [enrolled(number, clips=3) for number in range(22)]
    run = services.request_training(config={}, actor=ADMIN)
    training.execute(run.id)
    run.refresh_from_db()
    assert run.state == TrainingRun.State.SUCCEEDED, run.error_message
    assert run.model is not None
    found = evidence.of(run.model)
    assert (found.is_sufficient, found.summary()["strangers"]) == (True, True), found.missing
    assert (run.speakers, found.summary()["speakers"]) == (11, 11)
    assert (found.summary()["target_trials"], found.summary()["impostor_trials"]) == (33, 330)
    trained = set(TrainingSpeaker.objects.filter(model=run.model).values_list("customer", flat=True))
    assert trained == {each.pk for each in customers} - holding_out.choose({each.pk: 3 for each in customers}, 0.01)
    assert services.request_promotion(version=run.model.version, actor=ADMIN).state == ModelVersion.State.PROMOTING


@pytest.mark.django_db
def test_nobody_is_left_out_where_a_frozen_set_tests_the_model(
    small_recogniser: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding_out, "MOST_SHARE", 0.5)
    customers = [enrolled(number, clips=3, seconds=0.5) for number in range(22)]
    assert len(training_data.export_manifest(small_recogniser / "one").customers) == 11
    settings.VOICEAUTH_FROZEN_SET_DIR = small_recogniser / "frozen"
    assert len(training_data.export_manifest(small_recogniser / "other").customers) == len(customers)


def test_weights_of_an_earlier_retrain_are_not_taken_for_weights_that_heard_no_customer(settings: Any) -> None:
    settings.VOICEAUTH_TRAINING_OVERRIDES = []
    assert resolve({}).architecture.weights_file == str(START_WEIGHTS)
    assert starts_without_customers(resolve({}).to_dict())
    settings.VOICEAUTH_TRAINING_OVERRIDES = ["architecture.backbone=resnet18"]
    assert starts_without_customers(resolve({}).to_dict())
    settings.VOICEAUTH_TRAINING_OVERRIDES = ["architecture.weights_file=/models/v7/encoder.safetensors"]
    assert not starts_without_customers(resolve({}).to_dict())
