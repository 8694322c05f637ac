"""Verification trials from two tables: enroll every speaker, score every trial, each clip decoded and embedded once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech import quality
from mltraining.speech.audio import AudioError, decode
from mltraining.speech.pipeline import ScoringPipeline
from mltraining.speech.quality import Quality
from mltraining.speech.scoring import cosine, mean_voiceprint

# The clip's quality and the trial's probability -> decision and its reason ("" where there is none).
Policy = Callable[[Quality, float], tuple[str, str]]
COLUMNS = ["speaker", "audio", "score", "probability", "decision", "reason"]


@dataclass(frozen=True, eq=False)
class _Clip:
    embedding: np.ndarray
    quality: Quality


def score_trials(
    pipeline: ScoringPipeline,
    enrollment: pd.DataFrame,
    trials: pd.DataFrame,
    audio_root: Path,
    policy: Policy,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """``enrollment`` and ``trials``: columns speaker, audio (relative to ``audio_root``). One row a trial, in order.

    A speaker's clips are weighed by their net speech. A clip that does not decode gives an empty score, decision
    ERROR and the audio's code (or ``missing_audio``) as the reason; a speaker of whom no enrollment clip holds speech
    gives SPEAKER_NOT_ENROLLED. ``progress(done, total)`` counts clips. Only embeddings stay in memory.
    """
    wanted = pd.unique(pd.concat([enrollment["audio"], trials["audio"]], ignore_index=True))
    clips: dict[str, _Clip | str] = {}
    for number, audio in enumerate(wanted, start=1):
        clips[audio] = _analyse(pipeline, Path(audio_root) / audio)
        progress(number, len(wanted))

    voiceprints = {
        str(speaker): _voiceprint([clips[audio] for audio in rows["audio"]])
        for speaker, rows in enrollment.groupby("speaker", sort=False)
    }
    scored = [
        (speaker, audio, *_score(pipeline, clips[audio], voiceprints.get(str(speaker)), policy))
        for speaker, audio in zip(trials["speaker"], trials["audio"], strict=True)
    ]
    return pd.DataFrame(scored, columns=COLUMNS).astype({"score": "float64", "probability": "float64"})


def _analyse(pipeline: ScoringPipeline, path: Path) -> _Clip | str:
    try:
        waveform = decode(path.read_bytes())
    except AudioError as error:
        return error.code
    except OSError:
        return "missing_audio"
    return _Clip(pipeline.embed(waveform), quality.measure(waveform))


def _voiceprint(clips: list[_Clip | str]) -> np.ndarray | None:
    speaking = [clip for clip in clips if isinstance(clip, _Clip) and clip.quality.speech_seconds > 0]
    if not speaking:
        return None
    weights = np.array([clip.quality.speech_seconds for clip in speaking])
    return mean_voiceprint(np.stack([clip.embedding for clip in speaking]), weights)


def _score(
    pipeline: ScoringPipeline, clip: _Clip | str, voiceprint: np.ndarray | None, policy: Policy
) -> tuple[float | None, float | None, str, str]:
    """Score, probability, decision, reason."""
    if isinstance(clip, str):
        return None, None, "ERROR", clip
    if voiceprint is None:
        return None, None, "SPEAKER_NOT_ENROLLED", ""
    score = float(cosine(clip.embedding, voiceprint[None])[0])
    probability = float(pipeline.calibration.probability(pipeline.calibration.log_likelihood_ratio(score)))
    return score, probability, *policy(clip.quality, probability)
