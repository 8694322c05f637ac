"""What enrollment asks a scoring worker, and what the worker answers."""

from dataclasses import dataclass, field
from uuid import UUID

from mltraining.messages import Call, Embedding, QualityReport, Recording
from voiceauth.screening.risk import Hit


@dataclass(frozen=True, kw_only=True)
class AnalyseSample:
    """Analyse a recording that is to be enrolled for a customer.

    ``decision`` is that of a call which is added to the voiceprint: that it was heard then is no replay.
    """

    customer: UUID
    recording: Recording
    decision: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Another customer whose voiceprint is close to the recording's voice."""

    customer_id: str
    log_likelihood_ratio: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class VoiceReport:
    """What the worker heard under the model in service; natural-log likelihood ratios, ``None``: not measurable."""

    one_voice_llr: float | None = None  # of the two parts of the recording that are least alike
    cohesion_llr: float | None = None  # to the recordings enrolled so far, without confirmed calls
    duplicates: tuple[Duplicate, ...] = ()  # the likeliest first
    hits: tuple[Hit, ...] = ()  # fraudsters whom the voice sounds like, and a replay


@dataclass(frozen=True, kw_only=True)
class SampleAnalysis:
    """What the worker found out. Without a model in service there is no embedding, and nothing to compare."""

    quality: QualityReport
    voice: VoiceReport
    embedding: Embedding | None
    acoustic_fingerprint: bytes = field(repr=False)
    remainder: bytes | None = field(repr=False)  # to be stored where something was cut out of the upload


ANALYSE_SAMPLE = Call("enrollment.analyse_sample", AnalyseSample, SampleAnalysis)
