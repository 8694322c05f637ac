"""Recordings as a worker sees them: decoded, measured, and embedded under a model. Worker-side only.

The speech library is imported on first use, so that a worker starts before it needs it.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mltraining import deadlines, decoding
from mltraining.errors import EmptyAudio
from mltraining.messages import Embedding, Nearest, QualityReport, Recording
from voiceauth.platform import stages

if TYPE_CHECKING:
    from mltraining.scorer import LoadedModel
    from mltraining.speech.audio.quality import Quality
    from mltraining.speech.audio.redaction import Intervals
    from mltraining.speech.audio.waveform import Waveform
    from mltraining.speech.scoring.cohort import Statistics
    from mltraining.speech.scoring.one_voice import Part, Parts, Windows
    from mltraining.speech.scoring.pipeline import Comparison, ScoringPipeline


@dataclass(frozen=True)
class Analysis:
    """One recording, decoded and measured.

    ``is_whole`` is false where a stretch was cut out of the upload, one of several channels was picked, or the upload
    alone does not tell its format.
    """

    waveform: "Waveform"
    quality: "Quality"
    is_whole: bool = True

    def report(self) -> QualityReport:
        """Return the quality and the format."""
        return QualityReport(
            duration_seconds=float(self.quality.duration_seconds),
            speech_seconds=float(self.quality.speech_seconds),
            snr_db=float(self.quality.snr_db),
            clipping_ratio=float(self.quality.clipping_ratio),
            container=self.waveform.container,
            codec=self.waveform.codec,
            sample_rate=int(self.waveform.sample_rate),
            channel=self.waveform.channel,
            truncated=self.waveform.truncated,
        )

    def remainder(self) -> bytes | None:
        """Return what may be stored in place of the upload, as a WAV file; ``None`` where that is the upload itself."""
        from mltraining.speech.audio import redaction

        return None if self.is_whole else redaction.as_wav(self.waveform)

    def acoustic_fingerprint(self) -> bytes:
        """Return the acoustic fingerprint, used to detect replays; see ``speech.audio.replay``."""
        from mltraining.speech.audio import replay

        return replay.kept(self.views)

    @cached_property
    def views(self) -> list[np.ndarray]:
        """The spectral pairs that are looked up among the fingerprints of earlier recordings."""
        from mltraining.speech.audio import quality, replay
        from mltraining.speech.audio.waveform import resample

        samples = resample(self.waveform.samples, self.waveform.sample_rate, replay.RATE)
        return replay.views(samples, quality.speech_segments(self.waveform))

    def without(self, stretches: "Intervals") -> "Analysis":
        """Return the analysis of the recording without these stretches, in seconds of it."""
        from mltraining.speech.audio import quality, redaction

        rest = redaction.cut(self.waveform, stretches)
        return Analysis(rest, quality.measure(rest), is_whole=False)


@dataclass(frozen=True)
class Voice:
    """A recording's embedding (d,) float32 under a model, and what it compares with."""

    analysis: Analysis
    model: "LoadedModel"
    vector: np.ndarray
    heard: "Windows | None" = None  # of the net speech, where the same pass told of them

    def compare(
        self, vectors: np.ndarray, speech_seconds: "float | np.ndarray", statistics: "Statistics | None" = None
    ) -> "Comparison":
        """Compare with voiceprints (n, d) of ``speech_seconds`` (n,) each; ``statistics`` are their cohort's."""
        return self.model.pipeline.compare(self.vector, self.analysis.quality, vectors, speech_seconds, statistics)

    def bound(self, statistics: "Statistics | None" = None) -> "tuple[float | np.ndarray, float | np.ndarray]":
        """Return the slope and the offset of a ratio's bound by the cosine: see ``ScoringPipeline.bound``."""
        return self.model.pipeline.bound(self.vector, self.analysis.quality, statistics)

    def compare_one(self, name: str, vector: np.ndarray, speech_seconds: float) -> Nearest:
        """Compare with one voiceprint (d,), called ``name``."""
        found = self.compare(vector[None], speech_seconds)
        return Nearest(
            name=name,
            score=float(found.score[0]),
            log_likelihood_ratio=float(found.log_likelihood_ratio[0]),
            probability=float(found.probability[0]),
        )

    def windows(self, *, alone: bool = False) -> "Windows":
        """Return the embeddings of stretches of the recording's speech: each heard ``alone``, or among the others."""
        from mltraining.speech.scoring import one_voice

        with stages.timed("network"):
            heard = None if alone else self.heard
            return one_voice.placed_windows(self.model.pipeline, self.analysis.waveform, heard, deadlines.check)

    @cached_property
    def parts(self) -> "Parts | None":
        """The two parts of the recording that are least alike; ``None`` where there is too little speech for two."""
        return self._split(self.windows())

    @cached_property
    def exact_parts(self) -> "Parts | None":
        """Those of windows that are heard alone: they tell best where a second voice begins.

        They cost more than all else of a call, and need more speech.
        """
        return self.parts if self.heard is None else self._split(self.windows(alone=True)) or self.parts

    def _split(self, windows: "Windows") -> "Parts | None":
        from mltraining.speech.scoring import one_voice

        return one_voice.split(self.model.pipeline, windows, self.analysis.quality)

    def of_part(self, part: "Part") -> "Voice":
        """Return the voice of one part alone, to compare it."""
        quality = replace(self.analysis.quality, speech_seconds=part.speech_seconds)
        return Voice(replace(self.analysis, quality=quality), self.model, part.vector)

    def embedding(self) -> Embedding:
        """Return the embedding as a message."""
        return Embedding(model_version=self.model.version, model_fingerprint=self.model.fingerprint, vector=self.vector)


def analyse(recording: Recording) -> Analysis:
    """Decode and measure the part of a recording that counts.

    Raises the ``InvalidAudio`` subclass that names what is wrong with it; ``EmptyAudio`` where nothing is left of it.
    """
    from mltraining.speech.audio import quality, redaction

    with stages.timed("decode"):
        waveform = decoding.decode(recording)
    deadlines.allow_for(waveform.duration_seconds)
    if recording.redact:
        waveform = redaction.cut(waveform, recording.redact)
        if not len(waveform.samples):
            raise EmptyAudio("Nothing is left of the recording: `redact` covers all of it.")
    deadlines.check()
    is_whole = not (recording.redact or recording.format or waveform.channel)
    with stages.timed("speech"):
        measured = quality.measure(waveform)
    return Analysis(waveform, measured, is_whole=is_whole)


def voice_of(analysis: Analysis, model: "LoadedModel") -> Voice:
    """Embed an analysed recording under ``model``."""
    deadlines.check()
    with stages.timed("network"):
        vector, heard = model.pipeline.listen(analysis.waveform)
        return Voice(analysis, model, vector, heard)


def embed(audio: bytes, model: "LoadedModel") -> np.ndarray:
    """Embed a stored recording, whose quality is known: (d,) float32. Raises ``InvalidAudio``."""
    return embed_by(audio, model.pipeline)


def embed_by(audio: bytes, pipeline: "ScoringPipeline") -> np.ndarray:
    """Do what ``embed`` does, by a pipeline that need not be registered."""
    return pipeline.embed(decoding.decode(Recording(audio=audio)))
