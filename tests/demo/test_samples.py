"""The sample recordings of the quick start do with the shipped model what docs/samples/README.md says."""

from pathlib import Path

import pytest
from django.conf import settings

from enrollment import gate
from enrollment.messages import VoiceReport
from mltraining import calibrations, recordings
from mltraining.messages import Nearest, Recording
from mltraining.recordings import Voice
from mltraining.scorer import LoadedModel
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.support import evidence
from voiceauth.policies import document

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "docs/samples"
ONE_FALSE_ACCEPT_IN = 100  # impostor calls


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """The model in the repository."""
    return LoadedModel("base", "base", ScoringPipeline.load(ROOT / "mltraining/base_model"), evidence.shipped())


def voice_of(name: str, model: LoadedModel) -> Voice:
    audio = (SAMPLES / f"{name}.ogg").read_bytes()
    return recordings.voice_of(recordings.analyse(Recording(audio=audio)), model)


def call_by(name: str, model: LoadedModel) -> Nearest:
    """Compare the call ``name`` with the enrollment."""
    enrolled = voice_of("enroll", model)
    return voice_of(name, model).compare_one("", enrolled.vector, enrolled.analysis.quality.speech_seconds)


def test_one_sample_enrolls_a_customer_at_once(model: LoadedModel) -> None:
    limits, voice = document.read({}, 0).enrollment(document.DEFAULT_ORIGIN), voice_of("enroll", model)
    report = VoiceReport(one_voice_llr=voice.exact_parts.log_likelihood_ratio if voice.exact_parts else None)
    assert gate.check(voice.analysis.report(), report, limits) == []
    assert voice.analysis.quality.speech_seconds >= settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS


def test_the_same_voice_is_accepted_and_another_one_rejected(model: LoadedModel) -> None:
    threshold = calibrations.threshold(model.calibration, 1 / ONE_FALSE_ACCEPT_IN)
    assert call_by("verify", model).probability >= threshold
    assert call_by("stranger", model).probability < 0.5


def test_the_decoys_of_unknown_customers_are_as_far_away_as_voices_are(model: LoadedModel) -> None:
    """Scores of random directions vary by 0.07 in 192 dimensions. Their narrow spread would give a decoy away."""
    decoys = model.pipeline.decoys
    assert decoys is not None
    for name in ("enroll", "verify", "stranger"):
        assert (decoys @ voice_of(name, model).vector).std() > 0.1


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.ogg")) < 150_000
