"""Which recordings may enroll."""

from typing import Any

import pytest
from pytest_django import Settings

from enrollment import gate
from enrollment.errors import Clipped, NotEnoughSpeech, SampleRefused, TooNoisy

GOOD: dict[str, Any] = {
    "duration_seconds": 12.0,
    "speech_seconds": 8.0,
    "snr_db": 20.0,
    "clipping_ratio": 0.0,
    "container": "wav",
    "codec": "pcm_mulaw",
    "sample_rate": 8000,
}


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    settings.VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS = 1.0
    settings.VOICEAUTH_MIN_SNR_DB = 5.0
    settings.VOICEAUTH_MAX_CLIPPING_RATIO = 0.05


@pytest.mark.parametrize(
    ("measured", "refusal"),
    [
        ({"speech_seconds": 0.99}, NotEnoughSpeech),
        ({"speech_seconds": 0.0, "snr_db": 0.0, "clipping_ratio": 1.0}, NotEnoughSpeech),
        ({"snr_db": 4.9}, TooNoisy),
        ({"snr_db": 4.9, "clipping_ratio": 0.06}, TooNoisy),
        ({"clipping_ratio": 0.06}, Clipped),
    ],
)
def test_the_first_failing_measure_names_the_refusal(measured: dict[str, Any], refusal: type[SampleRefused]) -> None:
    report = gate.QualityReport(**GOOD | measured)
    with pytest.raises(refusal) as caught:
        gate.check(report)
    assert type(caught.value) is refusal and caught.value.data["report"] == report.as_dict()


def test_a_recording_at_every_limit_passes() -> None:
    gate.check(gate.QualityReport(**GOOD | {"speech_seconds": 1.0, "snr_db": 5.0, "clipping_ratio": 0.05}))
