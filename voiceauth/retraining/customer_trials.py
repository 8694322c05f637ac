"""Trials of the enrolled customers who did not train a model: how it tells voices apart that it has never heard."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import numpy as np

from enrollment import selectors
from enrollment.models import AudioSample
from mltraining import recordings
from mltraining.errors import InvalidAudio
from mltraining.speech.evaluation.trials import ScoredTrials
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.quality_measures import QualityMeasures
from mltraining.vectors import mean_voiceprint
from voiceauth.platform.storage import RecordingGone
from voiceauth.retraining import training_data

MOST_CUSTOMERS = 200  # more make the figures hardly narrower, and every recording has to be embedded


@dataclass(frozen=True, eq=False)
class _Voice:
    """A customer's recordings under a model: embeddings (k, d), net speech (k,) in seconds and noise (k,) in dB."""

    embeddings: np.ndarray
    seconds: np.ndarray
    snr_db: np.ndarray


class _Clip(NamedTuple):
    embedding: np.ndarray
    seconds: float
    snr_db: float


def trials_of(
    pipeline: ScoringPipeline, *, trained: Collection[UUID], progress: Callable[[int, int], None]
) -> ScoredTrials:
    """Try every recording against its customer's other recordings, and against every other customer.

    Tried are customers who are enrolled, consent, have two recordings, and are not among the ``trained``.
    ``progress(done, total)`` counts recordings and may raise to stop. Raises ``ValueError`` where fewer than two
    customers are left.
    """
    strangers = [
        samples
        for customer, samples in sorted(training_data.exportable().items())
        if customer not in trained and len(samples) >= 2
    ][:MOST_CUSTOMERS]
    total, done, voices = sum(map(len, strangers)), 0, []
    for samples in strangers:
        clips = []
        for sample_id in samples:
            progress(done, total)
            done += 1
            if (clip := _clip(sample_id, pipeline)) is not None:
                clips.append(clip)
        if len(clips) >= 2:
            voices.append(_Voice(*(np.stack([each[part] for each in clips]) for part in range(3))))
    if len(voices) < 2:
        raise ValueError("fewer than two customers who did not train the model have two recordings")
    return ScoredTrials.joined([_tried(pipeline, voices, number) for number in range(len(voices))])


def _clip(sample_id: UUID, pipeline: ScoringPipeline) -> _Clip | None:
    """Embed a recording; ``None`` where it was erased meanwhile, or cannot be decoded any more."""
    sample = AudioSample.objects.select_related("customer", "audio").filter(pk=sample_id).first()
    if sample is None:
        return None
    try:
        embedding = recordings.embed_by(selectors.sample_audio(sample), pipeline)
    except (RecordingGone, InvalidAudio):
        return None
    return _Clip(embedding, sample.speech_seconds, sample.snr_db)


def _tried(pipeline: ScoringPipeline, voices: list[_Voice], tested: int) -> ScoredTrials:
    """Try each recording of one voice against all of them; its own voiceprint is of the other recordings."""
    vectors = np.stack([mean_voiceprint(each.embeddings, each.seconds) for each in voices])
    seconds = np.array([each.seconds.sum() for each in voices])
    voice, speakers = voices[tested], np.arange(len(voices)).astype(str)
    parts = []
    for number, embedding in enumerate(voice.embeddings):
        others = np.arange(len(voice.seconds)) != number
        vectors[tested] = mean_voiceprint(voice.embeddings[others], voice.seconds[others])
        seconds[tested] = voice.seconds[others].sum()
        parts.append(
            ScoredTrials(
                scores=pipeline.score(embedding, vectors),
                is_target=speakers == speakers[tested],
                measures=QualityMeasures(
                    np.full(len(voices), voice.seconds[number]),
                    seconds.copy(),
                    np.full(len(voices), voice.snr_db[number]),
                ),
                speakers=speakers,
                test_speakers=np.full(len(voices), speakers[tested]),
            )
        )
    return ScoredTrials.joined(parts)
