"""Trials of made-up scores, and a stand-in for a pipeline."""

import numpy as np

from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.evaluation.conditions import G711, Condition, ConditionScores, TrialAudio

Groups = dict[str, np.ndarray]


class Listener:
    """Stands for a pipeline: keeps what it hears, and tells clips apart by their loudness alone."""

    def __init__(self) -> None:
        self.heard: list[Waveform] = []

    def embed(self, waveform: Waveform) -> np.ndarray:
        """Return an angle that the loudness gives, (2,)."""
        self.heard.append(waveform)
        angle = 100 * float(np.abs(waveform.samples).mean())
        return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)

    def score(self, embedding: np.ndarray, voiceprints: np.ndarray) -> np.ndarray:
        """Return the cosines."""
        return voiceprints @ embedding


def every_trial(owner: np.ndarray, speakers: int, groups: Groups | None = None) -> TrialAudio:
    """Every clip tried against every speaker, without audio: owner (clips,)."""
    clip, claimed = (place.ravel() for place in np.indices((len(owner), speakers)))
    return TrialAudio([f"s{number}" for number in range(speakers)], [], [], owner, clip, claimed, groups or {})


def scored(scores: np.ndarray, condition: Condition = G711) -> ConditionScores:
    """Scores (clips, speakers) of clips of the same quality."""
    clips, speakers = scores.shape
    same = np.ones(clips)
    return ConditionScores(condition, np.arange(clips), scores, 2 * same, 20 * same, np.full(speakers, 10.0))


def separable(
    speakers: int = 8, takes: int = 3, overlap: float = 0.3, groups: Groups | None = None
) -> tuple[TrialAudio, ConditionScores]:
    """Scores around 1 for the own speaker and around 0 for others, of the deviation ``overlap``."""
    random = np.random.default_rng(2)
    owner = np.repeat(np.arange(speakers), takes)
    scores = random.normal(0, overlap, (len(owner), speakers))
    scores[np.arange(len(owner)), owner] += 1
    return every_trial(owner, speakers, groups), scored(scores)
