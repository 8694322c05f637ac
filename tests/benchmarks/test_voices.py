"""The callers of the benchmarks: no call repeats another, and each has its own voice."""

import pytest

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from voiceauth.benchmarks.poison import hostile
from voiceauth.benchmarks.voices import Voice


@pytest.mark.parametrize("seconds", [3.0, 8.0])
def test_a_call_is_telephone_speech_of_the_length_that_was_asked_for(seconds: float) -> None:
    heard = decode(Voice(0, 2).call(seconds, take=1))
    assert (heard.container, heard.codec, heard.sample_rate) == ("wav", "pcm_mulaw", 8000)
    assert heard.duration_seconds == pytest.approx(seconds)
    assert quality.measure(heard).speech_seconds > 0.8 * seconds


def test_two_takes_differ_and_the_same_take_does_not() -> None:
    voice = Voice(0, 2)
    assert voice.call(3.0, take=1) == voice.call(3.0, take=1)
    assert voice.call(3.0, take=1) != voice.call(3.0, take=2)
    assert voice.call(3.0, take=1) != Voice(1, 2).call(3.0, take=1)


def test_an_enrollment_holds_what_the_default_policy_asks_for() -> None:
    for number in range(3):
        assert quality.measure(decode(Voice(number, 3).enrollment())).speech_seconds >= 20


def test_no_two_hostile_recordings_are_alike() -> None:
    assert len(set(hostile().values())) == len(hostile()) >= 4
