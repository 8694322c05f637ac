"""The demo's synthetic voices are speech to the service's own quality gate, and differ from each other."""

from functools import cache

import numpy as np
import pytest

from mltraining.speech.audio import decoding, quality
from mltraining.speech.audio.waveform import Waveform
from voiceauth.demo import cast, voices

SPEAKERS = range(12)  # ten customers, the newcomer, the stranger


@cache
def heard(speaker: int, take: int) -> Waveform:
    return decoding.decode(voices.recording(speaker, take))


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_voice_passes_the_quality_gate(speaker: int) -> None:
    report = quality.measure(heard(speaker, 0))
    assert report.speech_seconds > 4
    assert report.snr_db > 20
    assert report.clipping_ratio == 0


def test_six_recordings_enroll() -> None:
    spoken = [quality.measure(heard(0, take)).speech_seconds for take in range(6)]
    assert sum(spoken) > 25


def test_a_take_is_repeatable_and_another_take_says_other_words() -> None:
    assert np.array_equal(voices.utterance(3, 0), voices.utterance(3, 0))
    assert not np.allclose(voices.utterance(3, 0), voices.utterance(3, 1))


def test_two_takes_of_a_voice_are_more_alike_than_two_voices() -> None:
    spectra = {(who, take): _long_term_spectrum(heard(who, take).samples) for who in SPEAKERS for take in (0, 1)}
    closest = [min(SPEAKERS, key=lambda other: _distance(spectra[who, 0], spectra[other, 1])) for who in SPEAKERS]
    assert sum(who == found for who, found in zip(SPEAKERS, closest, strict=True)) >= 10


def _long_term_spectrum(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples, 2048)[::1024] * np.hanning(2048)
    return np.log(np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)[:512] + 1e-6)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def test_the_cast_is_ten_customers_a_newcomer_and_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "recording", lambda speaker, take: f"take {take} of {speaker}".encode())
    players = cast.synthetic()
    assert len(players.speakers) == 10
    assert "SYNTHETIC" in players.description
    assert all(speaker.enrollment and speaker.calls for speaker in players.speakers)
    assert players.newcomer.enrollment
    assert players.newcomer.calls
    assert players.stranger.calls
    assert not players.stranger.enrollment
    everybody = [*players.speakers, players.newcomer, players.stranger]
    assert len({speaker.name for speaker in everybody}) == 12
    recordings = [recording for speaker in everybody for recording in (*speaker.enrollment, *speaker.calls)]
    assert len(recordings) == len(set(recordings)) == 10 * 9 + 9 + 3
