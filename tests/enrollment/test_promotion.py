from pathlib import Path

import numpy as np
import pytest

from enrollment import keys, promotion, retraining, selectors, voiceprints
from enrollment.models import Customer, SampleEmbedding, Voiceprint
from mltraining import registry, scorer, shutdown
from mltraining.models import ModelVersion
from tests.enrollment.voices import add_recording, enrolled, small_recogniser
from tests.mltraining.tiny import register_untrained
from voiceauth.audit import Actor
from voiceauth.audit.models import AuditEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_recogniser")]
__all__ = ["small_recogniser"]

State = ModelVersion.State
ADMIN = Actor(name="ops", role="admin")


def promote(model: ModelVersion) -> None:
    retraining.request_promotion(version=model.version, actor=ADMIN)
    promotion.execute_promotion(model.version)


def state(model: ModelVersion) -> str:
    model.refresh_from_db()
    return model.state


def voiceprint(customer: Customer, model: ModelVersion) -> np.ndarray | None:
    return voiceprints.voiceprint_of(customer, model.fingerprint)


def test_the_first_promotion_needs_no_customers(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    promote(model)
    assert state(model) == State.ACTIVE
    assert model.promotion_percent == 100


def test_every_customer_has_a_voiceprint_under_the_promoted_model(tmp_path: Path) -> None:
    customers = [enrolled(number, clips=2) for number in (1, 2)]
    first, second = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(first)
    promote(second)
    assert (state(first), state(second)) == (State.RETIRED, State.ACTIVE)
    for customer in customers:
        old, new = voiceprint(customer, first), voiceprint(customer, second)
        assert old is not None
        assert new is not None
        assert np.linalg.norm(new) == pytest.approx(1, abs=1e-5)
        assert not np.allclose(old, new)


def test_a_voiceprint_is_made_of_the_embeddings_of_all_recordings(tmp_path: Path) -> None:
    customer, model = enrolled(1, clips=3), register_untrained(tmp_path)
    promote(model)
    loaded = scorer.load(model.version)
    embeddings = [scorer.embed(selectors.sample_audio(sample), loaded) for sample in customer.samples.all()]
    mean = np.mean(embeddings, axis=0)
    made = voiceprint(customer, model)
    assert made is not None
    np.testing.assert_allclose(made, mean / np.linalg.norm(mean), atol=1e-5)
    assert Voiceprint.objects.get().sample_count == 3


def test_the_way_back_embeds_only_what_came_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = enrolled(1, clips=2)
    first, second = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(first)
    promote(second)
    add_recording(customer, 1, take=7)
    embedded: list[str] = []
    embed = scorer.embed

    def counted(audio: bytes, model: scorer.LoadedModel) -> np.ndarray:
        embedded.append(model.version)
        return embed(audio, model)

    monkeypatch.setattr(scorer, "embed", counted)
    promote(first)
    assert embedded == [first.version]
    assert (state(first), state(second)) == (State.ACTIVE, State.RETIRED)
    assert Voiceprint.objects.get(model_fingerprint=first.fingerprint).sample_count == 3


def test_voiceprints_of_models_before_the_last_are_deleted(tmp_path: Path) -> None:
    enrolled(1, clips=1)
    models = [register_untrained(tmp_path, seed=seed) for seed in range(3)]
    for model in models:
        promote(model)
    kept = {model.fingerprint for model in models[1:]}
    assert set(Voiceprint.objects.values_list("model_fingerprint", flat=True)) == kept
    assert set(SampleEmbedding.objects.values_list("model_fingerprint", flat=True)) == kept


def test_a_recording_that_comes_in_during_the_promotion_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, model = enrolled(1, clips=1), register_untrained(tmp_path)
    lock = voiceprints.lock_gallery

    def enroll_just_before(*, shared: bool) -> None:
        add_recording(customer, 1, take=7)
        lock(shared=shared)

    monkeypatch.setattr(voiceprints, "lock_gallery", enroll_just_before)
    promote(model)
    assert Voiceprint.objects.get().sample_count == 2


def test_a_promotion_of_a_damaged_model_is_given_up_and_the_active_model_stays(tmp_path: Path) -> None:
    active, damaged = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(active)
    (registry.folder_of(damaged.version) / "encoder.safetensors").unlink()
    promote(damaged)
    assert (state(active), state(damaged)) == (State.ACTIVE, State.CANDIDATE)
    assert damaged.promotion_error == "model_unavailable"
    assert AuditEvent.objects.get(action="model.promotion_failed").target == f"model:{damaged.version}"


def test_a_promotion_is_carried_out_once(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    promote(model)
    promotion.execute_promotion(model.version)  # the same message again
    assert AuditEvent.objects.filter(action="model.promoted").count() == 1


def test_a_worker_that_shuts_down_leaves_the_promotion_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled(1, clips=2)
    model = register_untrained(tmp_path)
    with monkeypatch.context() as stopping:
        stopping.setattr(shutdown, "in_progress", lambda: True)
        promote(model)
    assert state(model) == State.PROMOTING
    promotion.execute_promotion(model.version)
    assert state(model) == State.ACTIVE
    assert Voiceprint.objects.get().sample_count == 2


def test_a_recording_that_cannot_be_read_any_more_does_not_keep_everyone_from_a_model(tmp_path: Path) -> None:
    customer, model = enrolled(1, clips=1), register_untrained(tmp_path)
    broken = add_recording(customer, 1, take=7)
    broken.audio.content = keys.seal_audio(customer, broken.pk, b"no sound")
    broken.audio.save()
    promote(model)
    assert state(model) == State.ACTIVE
    assert Voiceprint.objects.get().sample_count == 1
