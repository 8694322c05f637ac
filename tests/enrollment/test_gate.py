"""Which recordings may enroll."""

import re
from dataclasses import replace
from typing import Any

import pytest

from enrollment import gate
from enrollment.errors import (
    AnotherVoice,
    Clipped,
    MoreThanOneSpeaker,
    NotEnoughSpeech,
    RecordingTooLong,
    Replayed,
    SampleRefused,
    TooNoisy,
)
from enrollment.messages import Duplicate, VoiceReport
from mltraining.messages import QualityReport
from voiceauth.policies.document import EnrollmentLimits
from voiceauth.screening.risk import Hit

GOOD: dict[str, Any] = {
    "duration_seconds": 12.0,
    "speech_seconds": 8.0,
    "snr_db": 20.0,
    "clipping_ratio": 0.0,
    "container": "wav",
    "codec": "pcm_mulaw",
    "sample_rate": 8000,
}


def bob(llr: float) -> Duplicate:
    return Duplicate(customer_id="bob", log_likelihood_ratio=llr, probability=0.99)


LIMITS = EnrollmentLimits(
    min_sample_speech_seconds=1.0, min_snr_db=5.0, max_clipping_ratio=0.05, max_duration_seconds=60
)


@pytest.mark.parametrize(
    ("measured", "refusal"),
    [
        ({"speech_seconds": 0.99}, NotEnoughSpeech),
        ({"speech_seconds": 0.0, "snr_db": 0.0, "clipping_ratio": 1.0}, NotEnoughSpeech),
        ({"snr_db": 4.9}, TooNoisy),
        ({"snr_db": 4.9, "clipping_ratio": 0.06}, TooNoisy),
        ({"clipping_ratio": 0.06}, Clipped),
        ({"duration_seconds": 60.1, "speech_seconds": 0.5}, RecordingTooLong),
    ],
)
def test_the_first_failing_measure_names_the_refusal(measured: dict[str, Any], refusal: type[SampleRefused]) -> None:
    report = QualityReport(**GOOD | measured)
    with pytest.raises(refusal) as caught:
        gate.check(report, VoiceReport(), LIMITS)
    assert type(caught.value) is refusal and caught.value.data["report"] == report.as_dict()


def test_a_recording_at_every_limit_passes() -> None:
    quality = QualityReport(**GOOD | {"speech_seconds": 1.0, "snr_db": 5.0, "clipping_ratio": 0.05})
    voice = VoiceReport(one_voice_llr=-1.0, cohesion_llr=-2.0, duplicates=(bob(5.9),))
    assert gate.check(quality, voice, LIMITS) == []


@pytest.mark.parametrize(
    ("heard", "refusal"),
    [
        ({"one_voice_llr": -1.1, "cohesion_llr": -9.0}, MoreThanOneSpeaker),
        ({"one_voice_llr": None, "cohesion_llr": -2.1}, AnotherVoice),
        ({"hits": (Hit(reason="REPLAY", score=1.0),), "cohesion_llr": 9.0}, Replayed),
    ],
)
def test_what_the_voice_says_against_it_is_named(heard: dict[str, Any], refusal: type[SampleRefused]) -> None:
    with pytest.raises(refusal):
        gate.check(QualityReport(**GOOD), VoiceReport(**heard), LIMITS)


def test_a_duplicate_voice_a_fraudster_and_a_policy_of_two_persons_make_it_wait() -> None:
    voice = VoiceReport(duplicates=(bob(6.0),), hits=(Hit(reason="KNOWN_FRAUDSTER", score=0.99),))
    held_for = gate.check(QualityReport(**GOOD), voice, replace(LIMITS, needs_approval=True))
    assert held_for == ["APPROVAL", "REVIEW"]


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"speech_seconds": 0.25}, "0.25 s of speech; at least"),
        ({"snr_db": -3.0}, "The signal-to-noise ratio is -3 dB; at least"),
        ({"clipping_ratio": 0.5}, "50.00% of the recording is clipped; at most"),
        ({"duration_seconds": 5000.0}, "The recording is 5000 s long; at most"),
    ],
)
def test_a_refusal_says_what_was_measured_and_what_is_accepted(measured: dict[str, float], said: str) -> None:
    quality = QualityReport(**(GOOD | measured))
    with pytest.raises(SampleRefused, match=re.escape(said)):
        gate.check(quality, VoiceReport(), LIMITS)
