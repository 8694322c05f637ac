"""What verification asks a scoring worker, and what the worker answers."""

from dataclasses import dataclass, field
from uuid import UUID

from mltraining.messages import Call, Embedding, Nearest, QualityReport, Recording
from voiceauth.screening.messages import Screening
from voiceauth.screening.risk import Hit


@dataclass(frozen=True, kw_only=True)
class OneVoice:
    """What the policy asks of a call so that one voice speaks in it."""

    min_llr: float  # of the two parts that are least alike
    min_speech_seconds: float  # of the last voice, to be scored alone


@dataclass(frozen=True, kw_only=True)
class VerifyCall:
    """Compare a call with the voiceprint of whom the caller claims to be.

    ``customer`` is the claimed customer's key. Without one the call is compared with a decoy: a voice that is nobody's,
    always the same for one ``claimed`` identifier, which never accepts.
    """

    recording: Recording
    claimed: str  # the bank's identifier
    customer: UUID | None
    target_far: float  # the false-accept rate to decide at
    rules: OneVoice
    promised: bool  # refuse where the calibration's trials do not support this rate: a tier promises it
    at_least_seconds: float = 0.0  # of net speech: with less, a call that goes on is not compared


@dataclass(frozen=True, kw_only=True)
class IdentifyCall:
    """Search the enrolled customers, or the ``candidates`` among them, for the voice of a call."""

    recording: Recording
    target_far: float  # the false-accept rate to decide at
    rules: OneVoice
    candidates: tuple[str, ...] | None
    max_results: int


@dataclass(frozen=True, kw_only=True)
class CallScore:
    """What the worker found out about a call, under the model in service."""

    quality: QualityReport
    model_version: str
    model_fingerprint: str
    calibration_version: str
    threshold: float  # on the probability
    matches: tuple[Nearest, ...]  # the best first, named by customer; none without a voiceprint under this model
    part_llr: float | None = None  # where more than one person speaks: of the best match and the closest part
    changes_at: float | None = None  # where the second voice then begins, in seconds of what is kept
    enrollment_speech_seconds: float | None = None  # net, behind the claimed voiceprint
    screening: Screening
    acoustic_fingerprint: bytes = field(default=b"", repr=False)  # of a call that claimed a customer
    remainder: bytes | None = field(repr=False)  # to be kept where something was cut out of the upload
    milliseconds: float

    @property
    def best(self) -> Nearest | None:
        """The likeliest match."""
        return self.matches[0] if self.matches else None

    @property
    def probability(self) -> float | None:
        """The probability of the likeliest match."""
        return self.best.probability if self.best else None


@dataclass(frozen=True, kw_only=True)
class FollowCall:
    """Compare the latest part of a call that was decided. ``claimed`` and ``customer`` are as in ``VerifyCall``."""

    recording: Recording
    claimed: str
    customer: UUID | None
    target_far: float
    rules: OneVoice


@dataclass(frozen=True, kw_only=True)
class CallFollowed:
    """How the latest part of a call compares. Without a voiceprint, or without speech, there is no ratio."""

    speech_seconds: float
    log_likelihood_ratio: float | None  # natural logarithm
    probability: float | None
    speaker_changed: bool


@dataclass(frozen=True, kw_only=True)
class AnalyseFraudster:
    """Analyse a recording whose voice is to go on a watchlist."""

    recording: Recording


@dataclass(frozen=True, kw_only=True)
class FraudsterAnalysis:
    """What the worker found out. Without a model in service there is no embedding, and nothing to compare."""

    speech_seconds: float
    hits: tuple[Hit, ...]  # known fraudsters who sound like it, the likeliest first
    customer: Nearest | None  # the customer who sounds most like it
    embedding: Embedding | None
    remainder: bytes | None = field(repr=False)  # to be stored where something was cut out of the upload


VERIFY = Call("verification.verify_call", VerifyCall, CallScore)
IDENTIFY = Call("verification.identify_call", IdentifyCall, CallScore)
FOLLOW = Call("verification.follow_call", FollowCall, CallFollowed)
ANALYSE_FRAUDSTER = Call("verification.analyse_fraudster", AnalyseFraudster, FraudsterAnalysis)
