"""A promotion takes the fraudsters along: nobody is forgotten with a model."""

from pathlib import Path

import pytest

from mltraining import recordings, scorer, worker_client
from mltraining.messages import Recording
from mltraining.models import ModelVersion
from tests.support.audio import voice, wav
from tests.support.fraudsters import RITA, default
from tests.support.model import register_untrained
from tests.support.stand_in import StandInWorker
from voiceauth.platform.audit import Actor
from voiceauth.retraining import promotion, services
from voiceauth.retraining.models import Promotion
from voiceauth.screening import watch
from voiceauth.screening.models import Fraudster, FraudsterVoiceprint
from voiceauth.verification import fraudsters

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_recogniser")]


@pytest.fixture(autouse=True)
def _this_process_is_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "call", StandInWorker().call)


def last(model: ModelVersion) -> Promotion:
    return Promotion.objects.filter(model=model).latest("created_at")


def promote(model: ModelVersion) -> None:
    services.request_promotion(version=model.version, actor=Actor(name="ops", role="admin"))
    promotion.execute(last(model).pk)


def watched(number: int) -> Fraudster:
    audio = wav(voice(number, seconds=3, sample_rate=8000), 8000)
    made = fraudsters.add_recording(watchlist_id=default().pk, audio=audio, another_person=True, actor=RITA)
    assert isinstance(made, Fraudster)
    return made


def test_every_fraudster_has_a_voiceprint_under_the_promoted_model_and_none_under_older_ones(tmp_path: Path) -> None:
    before = watched(1)  # no model is in service yet
    models = [register_untrained(tmp_path, seed=seed) for seed in range(3)]
    promote(models[0])
    after = watched(2)
    for model in models[1:]:
        promote(model)
    found = set(FraudsterVoiceprint.objects.values_list("fraudster", "model_fingerprint"))
    kept = [model.fingerprint for model in models[1:]]
    assert found == {(each.pk, fingerprint) for each in (before, after) for fingerprint in kept}
    loaded = scorer.load(models[2].version)
    audio = wav(voice(1, seconds=3, sample_rate=8000), 8000)
    heard = recordings.voice_of(recordings.analyse(Recording(audio=audio)), loaded)
    assert watch.known(heard)[0].fraudster_id == str(before.pk)
