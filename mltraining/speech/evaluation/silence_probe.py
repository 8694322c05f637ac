"""The silence probe: does the model recognise the recording in place of the voice?"""

from dataclasses import dataclass

import numpy as np

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.conditions import TrialAudio
from mltraining.speech.evaluation.figures import Figure, Trials
from mltraining.speech.scoring.pipeline import ScoringPipeline

# A pause is measured without the tails of the speech around it, which would let the probe hear the voice.
GUARD_SECONDS, MIN_SILENCE_SECONDS = 0.05, 0.3


@dataclass(frozen=True)
class SilenceProbe:
    """Rank-1 on the pauses of ``clips`` of ``speakers``; ``chance`` is one over the speakers.

    ``rank_one`` and ``chance`` are None where too few clips hold a pause.
    """

    clips: int
    speakers: int
    rank_one: Figure | None
    chance: float | None


def probe_silence(pipeline: ScoringPipeline, audio: TrialAudio, weights: np.ndarray) -> SilenceProbe:
    """Measure rank-1 of a nearest-mean classifier on the test clips' pauses, under resamples of the speakers.

    Each clip is compared with every speaker's mean over the others. Only speakers with two clips that hold 0.3 s
    without speech take part. ``weights``: (resamples + 1, speakers).
    """
    embeddings, owner = [], []
    for clip, speaker in zip(audio.clips, audio.owner, strict=True):
        if (pause := pauses_of(clip)) is not None:
            embeddings.append(pipeline.embed(pause))
            owner.append(speaker)
    owners = np.array(owner, dtype=int)
    counts = np.bincount(owners, minlength=len(audio.speakers))
    kept = counts[owners] >= 2
    known = np.flatnonzero(counts >= 2)
    if len(known) < 2:
        return SilenceProbe(0, 0, None, None)
    vectors, owners = np.stack(embeddings)[kept], owners[kept]
    truth = np.searchsorted(known, owners)
    sums = np.stack([vectors[truth == place].sum(axis=0) for place in range(len(known))])
    means = np.repeat(sums[None], len(vectors), axis=0)  # (clips, speakers, dimensions)
    means[np.arange(len(vectors)), truth] -= vectors
    means /= np.linalg.norm(means, axis=2, keepdims=True) + 1e-12
    scores = np.einsum("nd,nsd->ns", vectors, means)
    hits = np.array([metrics.rank_one(truth[[row]], scores[[row]]) for row in range(len(truth))])
    trials = Trials(len(truth), len(truth) * (len(known) - 1), len(known))
    rank_one = Figure.of_resamples(metrics.weighted_mean(hits, weights[:, owners]), trials, is_rate=True)
    return SilenceProbe(len(vectors), len(known), rank_one, 1 / len(known))


def pauses_of(clip: Waveform) -> Waveform | None:
    """Return what is not speech, without its edges; None where that is under 0.3 s."""
    silent = np.ones(len(clip.samples), dtype=bool)
    for start, end in quality.speech_segments(clip):
        first, last = (round(second * clip.sample_rate) for second in (start - GUARD_SECONDS, end + GUARD_SECONDS))
        silent[max(0, first) : last] = False
    samples = clip.samples[silent]
    return Waveform(samples, clip.sample_rate) if len(samples) >= MIN_SILENCE_SECONDS * clip.sample_rate else None
