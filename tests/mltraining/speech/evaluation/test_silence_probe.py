"""The silence probe, on noise instead of pauses."""

from typing import cast

import numpy as np

from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.evaluation.conditions import TrialAudio
from mltraining.speech.evaluation.silence_probe import pauses_of, probe_silence
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.support.audio import voice
from tests.support.scores import Listener


def test_a_pause_holds_no_speech() -> None:
    spoken = voice(0, seconds=1.5, sample_rate=8000)
    quiet = np.random.default_rng(0).normal(0, 0.001, 8000)
    pause = pauses_of(Waveform(np.concatenate([quiet, spoken, quiet]).astype(np.float32), 8000))
    assert pause is not None
    assert pause.duration_seconds > 1.8
    assert np.abs(pause.samples).max() < 0.02
    assert pauses_of(Waveform(spoken[2000:8000], 8000)) is None


def test_the_probe_finds_a_room_that_the_pauses_tell() -> None:
    clips, owner = [], []
    for speaker in range(3):
        for take in range(10):
            noise = np.random.default_rng([speaker, take]).normal(0, 0.002 + 0.004 * speaker, 16_000)
            clips.append(Waveform(noise.astype(np.float32), 8000))
            owner.append(speaker)
    empty = np.array([], dtype=int)
    audio = TrialAudio(["a", "b", "c"], [], clips, np.array(owner), empty, empty, {})
    found = probe_silence(cast(ScoringPipeline, Listener()), audio, np.ones((2, 3)))
    assert (found.clips, found.speakers, found.chance) == (30, 3, 1 / 3)
    assert found.rank_one is not None and found.rank_one.value == 1
