from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from enrollment import keys, selectors, voiceprints
from enrollment.models import Customer, SampleEmbedding, Voiceprint
from mltraining import recordings, registry, scorer
from mltraining.models import ModelVersion
from mltraining.speech.evaluation import comparison, conditions
from tests.support.customers import add_recording, enrolled
from tests.support.model import register_untrained
from tests.support.trail import after
from tests.support.training_data import write_trials
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.jobs import shutdown
from voiceauth.retraining import promotion, services
from voiceauth.retraining.models import Promotion

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_recogniser")]

State = ModelVersion.State
ADMIN = Actor(name="ops", role="admin")


def last(model: ModelVersion) -> Promotion:
    return Promotion.objects.filter(model=model).latest("created_at")


def promote(model: ModelVersion, **options: Any) -> None:
    services.request_promotion(version=model.version, actor=ADMIN, **options)
    promotion.execute(last(model).pk)


def state(model: ModelVersion) -> str:
    model.refresh_from_db()
    return model.state


def voiceprint(customer: Customer, model: ModelVersion) -> np.ndarray | None:
    known = voiceprints.voiceprint_of(customer, model.fingerprint)
    return None if known is None else known.vector


def test_the_first_promotion_needs_no_customers(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    promote(model)
    assert state(model) == State.ACTIVE
    assert last(model).progress_percent == 100


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
    embeddings = [recordings.embed(selectors.sample_audio(sample), loaded) for sample in customer.samples.all()]
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
    embed = recordings.embed

    def counted(audio: bytes, model: scorer.LoadedModel) -> np.ndarray:
        embedded.append(model.version)
        return embed(audio, model)

    monkeypatch.setattr(recordings, "embed", counted)
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
    lock = promotion.lock_gallery

    def enroll_just_before(*, shared: bool) -> None:
        add_recording(customer, 1, take=7)
        lock(shared=shared)

    monkeypatch.setattr(promotion, "lock_gallery", enroll_just_before)
    promote(model)
    assert Voiceprint.objects.get().sample_count == 2


def test_a_promotion_of_a_damaged_model_is_given_up_and_the_active_model_stays(tmp_path: Path) -> None:
    active, damaged = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(active)
    (registry.folder_of(damaged.version) / "encoder.safetensors").unlink()
    promote(damaged)
    assert (state(active), state(damaged)) == (State.ACTIVE, State.CANDIDATE)
    assert last(damaged).error_code == "model_unavailable"
    assert AuditEvent.objects.get(action="model.promotion_failed").target == f"model:{damaged.version}"


def test_a_promotion_is_carried_out_once(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    promote(model)
    promotion.execute(last(model).pk)  # the same message again
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
    promotion.execute(last(model).pk)
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


@pytest.fixture
def frozen_set(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(conditions, "CONDITIONS", (conditions.G711,))
    settings.VOICEAUTH_FROZEN_SET_DIR = write_trials(tmp_path / "frozen", speakers=3, takes=1, seconds=1.2)
    return settings.VOICEAUTH_FROZEN_SET_DIR


def test_a_candidate_that_is_not_better_on_the_frozen_set_is_refused(tmp_path: Path, frozen_set: Path) -> None:
    enrolled(1, clips=1)
    champion, challenger = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(champion)  # there is none to beat
    promote(challenger)
    assert (state(champion), state(challenger)) == (State.ACTIVE, State.CANDIDATE)
    assert last(challenger).error_code == "challenger_not_better"
    assert challenger.metrics["comparison"]["champion"] == champion.version
    assert set(challenger.metrics["comparison"]["distributions"]) == {"champion", "challenger"}
    compared = AuditEvent.objects.get(action="model.compared")
    assert compared.data["better"] is False
    assert compared.data["reasons"] == challenger.metrics["comparison"]["reasons"]
    failed = AuditEvent.objects.get(action="model.promotion_failed")
    assert after(failed)["error_code"] == "challenger_not_better"
    assert not SampleEmbedding.objects.filter(model_fingerprint=challenger.fingerprint).exists()


def test_a_candidate_that_is_better_on_the_frozen_set_is_promoted(
    tmp_path: Path, frozen_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "compare", lambda *_, **__: comparison.Verdict(True, ["better"], []))
    champion, challenger = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(champion)
    promote(challenger)
    assert (state(champion), state(challenger)) == (State.RETIRED, State.ACTIVE)
    promote(champion)  # the way back asks nobody
    assert state(champion) == State.ACTIVE
    assert AuditEvent.objects.filter(action="model.compared").count() == 1


def test_a_forced_promotion_goes_through_and_the_trail_says_who_and_why(tmp_path: Path, frozen_set: Path) -> None:
    champion, challenger = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(champion)
    promote(challenger, force=True, reason="the line changed")
    assert state(challenger) == State.ACTIVE
    asked = AuditEvent.objects.get(action="model.promotion_requested", target=f"model:{challenger.version}")
    assert (asked.actor, asked.data["force"], asked.data["reason"]) == ("ops", True, "the line changed")
    assert AuditEvent.objects.get(action="model.compared").data["better"] is False


def test_a_frozen_set_that_cannot_be_scored_keeps_the_model_in_service(tmp_path: Path, frozen_set: Path) -> None:
    champion, challenger = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(champion)
    (frozen_set / "trials.csv").unlink()
    promote(challenger)
    assert (state(challenger), last(challenger).error_code) == (State.CANDIDATE, "frozen_set_unusable")
    promote(challenger, force=True)
    assert state(challenger) == State.ACTIVE


def test_a_worker_that_shuts_down_in_the_comparison_leaves_the_promotion_to_the_next(
    tmp_path: Path, frozen_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, challenger = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    promote(champion)
    with monkeypatch.context() as stopping:
        stopping.setattr(shutdown, "in_progress", lambda: True)
        promote(challenger)
    assert state(challenger) == State.PROMOTING
    promotion.execute(last(challenger).pk)
    assert challenger.pk and state(challenger) == State.CANDIDATE


def test_a_promotion_is_forced_in_the_body_of_the_request(admin: Any, tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    path = f"/api/v1/models/{model.version}/promote"
    assert admin.post(path, {"forced": True}, format="json").status_code == 400
    response = admin.post(path, {"force": True, "reason": "why"}, format="json")
    assert (response.status_code, response.json()["state"]) == (202, "REQUESTED")  # a second person must approve it
    assert state(model) == State.CANDIDATE


def test_the_evaluation_of_a_registered_model_is_kept_with_it(tmp_path: Path, frozen_set: Path) -> None:
    model = register_untrained(tmp_path)
    call_command(
        "evaluate", model.version, enrollment=frozen_set / "enrollment.csv", trials=frozen_set / "trials.csv",
        audio_root=frozen_set / "audio", output=tmp_path / "out", conditions=["g711"],
    )  # fmt: skip
    model.refresh_from_db()
    assert model.metrics["evaluation"]["source"] == "trials.csv"
    eer = model.metrics["evaluation"]["g711 eer"]
    assert eer["value"] is None  # 3 target trials support no figure
    assert (eer["target_trials"], eer["impostor_trials"], eer["speakers"]) == (3, 6, 3)
    assert model.metrics["roc_auc"] == 0.5  # what the training measured stays
    assert AuditEvent.objects.get(action="model.evaluated").target == f"model:{model.version}"
    with pytest.raises(CommandError, match="no registered model"):
        call_command("evaluate", "none", enrollment=Path("e"), trials=Path("t"), audio_root=Path("a"), output=Path("o"))
