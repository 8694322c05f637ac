"""Verification trials from two tables: enroll every speaker, score every trial, each clip decoded and embedded once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.quality import Quality
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.scores import mean_voiceprint

# The clip's quality and the trial's probability -> decision and its reason ("" where there is none).
Policy = Callable[[Quality, float], tuple[str, str]]
COLUMNS = ["speaker", "audio", "score", "probability", "decision", "reason"]


@dataclass(frozen=True, eq=False)
class _Clip:
    embedding: np.ndarray
    quality: Quality


@dataclass(frozen=True, eq=False)
class _Enrolled:
    voiceprint: np.ndarray
    speech_seconds: float


@dataclass(frozen=True)
class Trial:
    """One trial that was scored. Without a calibration ``score`` is all that a clip and a voiceprint give."""

    score: float
    probability: float
    quality: Quality  # of the test clip
    enrollment_speech_seconds: float


@dataclass(frozen=True)
class Refused:
    """A trial that has no score, and why: a decision and a reason, as in the table."""

    decision: str
    reason: str = ""


def _silent(done: int, total: int) -> None:
    pass


def score_trials(
    pipeline: ScoringPipeline,
    enrollment: pd.DataFrame,
    trials: pd.DataFrame,
    audio_root: Path,
    policy: Policy,
    progress: Callable[[int, int], None] = _silent,
) -> pd.DataFrame:
    """``enrollment`` and ``trials``: columns speaker, audio (relative to ``audio_root``). One row a trial, in order.

    See ``compare_trials``. A clip that does not decode gives an empty score, decision ERROR and the audio's code (or
    ``missing_audio``) as the reason; a speaker of whom no enrollment clip holds speech gives SPEAKER_NOT_ENROLLED.
    """
    scored = [
        (each.score, each.probability, *policy(each.quality, each.probability))
        if isinstance(each, Trial)
        else (None, None, each.decision, each.reason)
        for each in compare_trials(pipeline, enrollment, trials, audio_root, progress)
    ]
    named = zip(trials["speaker"], trials["audio"], scored, strict=True)
    table = pd.DataFrame([(speaker, audio, *row) for speaker, audio, row in named], columns=COLUMNS)
    return table.astype({"score": "float64", "probability": "float64"})


def compare_trials(
    pipeline: ScoringPipeline,
    enrollment: pd.DataFrame,
    trials: pd.DataFrame,
    audio_root: Path,
    progress: Callable[[int, int], None] = _silent,
) -> list[Trial | Refused]:
    """One a trial, in order. A speaker's clips are weighed by their net speech.

    ``progress(done, total)`` counts clips. Only embeddings stay in memory.
    """
    wanted = pd.unique(pd.concat([enrollment["audio"], trials["audio"]], ignore_index=True))
    clips: dict[str, _Clip | str] = {}
    for number, audio in enumerate(wanted, start=1):
        clips[audio] = _analyse(pipeline, Path(audio_root) / audio)
        progress(number, len(wanted))

    enrolled = {
        str(speaker): found
        for speaker, rows in enrollment.groupby("speaker", sort=False)
        if (found := _enroll([clips[audio] for audio in rows["audio"]]))
    }
    results: list[Trial | Refused] = [Refused("SPEAKER_NOT_ENROLLED")] * len(trials)
    speakers = trials["speaker"].astype(str).to_numpy()
    for audio, rows in trials.groupby("audio", sort=False).indices.items():
        clip = clips[str(audio)]
        if isinstance(clip, str):
            for row in rows:
                results[row] = Refused("ERROR", clip)
            continue
        known = [(int(row), enrolled[speakers[row]]) for row in rows if speakers[row] in enrolled]
        if not known:
            continue
        voiceprints = np.stack([each.voiceprint for _, each in known])
        seconds = np.array([each.speech_seconds for _, each in known])
        compared = pipeline.compare(clip.embedding, clip.quality, voiceprints, seconds)
        for (row, each), score, probability in zip(known, compared.score, compared.probability, strict=True):
            results[row] = Trial(float(score), float(probability), clip.quality, each.speech_seconds)
    return results


def _analyse(pipeline: ScoringPipeline, path: Path) -> _Clip | str:
    try:
        waveform = decode(path.read_bytes())
    except AudioError as error:
        return error.code
    except OSError:
        return "missing_audio"
    return _Clip(pipeline.embed(waveform), quality.measure(waveform))


def _enroll(clips: list[_Clip | str]) -> _Enrolled | None:
    speaking = [clip for clip in clips if isinstance(clip, _Clip) and clip.quality.speech_seconds > 0]
    if not speaking:
        return None
    weights = np.array([clip.quality.speech_seconds for clip in speaking])
    return _Enrolled(mean_voiceprint(np.stack([clip.embedding for clip in speaking]), weights), float(weights.sum()))
