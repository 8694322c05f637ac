"""What a policy says. The stored document holds only what departs from the defaults::

    {"enrollment":   {"default": {"min_snr_db": 8}, "phone": {"needs_approval": true}},   an origin's limits
     "verification": {"lock_after": 20},
     "enrichment":   {"methods": ["one_time_passcode"]},                       calls that join a voiceprint
     "tiers":        {"transfer": {"target_far": 0.001}},                                 risk tiers of transactions
     "channels":     {"ivr-1": "right"},                                the customer's channel, by API client
     "sign_in":      {"second_factor_for": ["admin"]}}                        how staff enter the dashboard

An origin takes what it does not name from "default", which takes it from the settings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.conf import settings
from rest_framework import serializers

from mltraining.messages import CHANNEL
from voiceauth.platform.api.actor import PEOPLES_ROLES
from voiceauth.platform.api.serializers import GivenNumber, StrictSerializer
from voiceauth.policies.errors import UnknownTier

DEFAULT_ORIGIN = "default"
NAME = r"^[a-z][a-z0-9_-]{0,31}\Z"  # of an origin or a tier
METHODS = ("one_time_passcode", "knowledge", "app", "card", "document")  # factors that confirm a caller: never a voice
NAME_OR_NOTHING = r"^([a-z][a-z0-9_-]{0,31})?\Z"  # as a form's empty field has it


@dataclass(frozen=True, kw_only=True)
class EnrollmentLimits:
    """What a recording must have to become part of a voiceprint. Ratios of likelihoods are natural logarithms."""

    min_sample_speech_seconds: float
    min_snr_db: float
    max_clipping_ratio: float
    max_duration_seconds: float
    min_cohesion_llr: float = -2.0  # to the customer's earlier recordings
    min_one_voice_llr: float = -1.0  # of the two parts of a recording that are least alike
    duplicate_voice_llr: float = 6.0  # from which another customer's voiceprint counts as the same voice
    needs_approval: bool = False  # by a second person, before the recording counts


@dataclass(frozen=True, kw_only=True)
class VerificationLimits:
    """What a call must have to be scored, and what happens after refusals in a row (NIST SP 800-63B-4, 3.2.2)."""

    min_speech_seconds: float
    min_snr_db: float
    max_clipping_ratio: float
    min_one_voice_llr: float = 0.0  # of the two parts of a call that are least alike
    answer_after_seconds: float = 3.0  # net speech of a streamed call; at least ``min_speech_seconds``
    target_far: float = 0.01  # of a call without a tier, and what a model must prove before it serves
    delay_after: int = 5  # refusals in a row
    first_delay_seconds: float = 30.0  # doubled with each further refusal
    longest_delay_seconds: float = 3600.0
    lock_after: int = 50  # refusals in a row: the customer is LOCKED
    fallback: str = "another_factor"  # what the answer names; a word of the bank's own


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """Which confirmed calls join a voiceprint, and how many. Without a method none does."""

    methods: tuple[str, ...] = ()  # of METHODS
    max_calls: int = 4  # in a voiceprint; a further one takes the place of the oldest
    max_age_days: int = 730
    min_llr: float = 0.0  # to the enrolled recordings, natural logarithm; less is held for a reviewer


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """How staff sign in to the dashboard."""

    second_factor_for: tuple[str, ...] = ()  # roles that need one beside the password


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A kind of transaction: how often a stranger may be accepted, and what an ACCEPT is worth."""

    target_far: float
    further_factor_required: bool = True  # NIST SP 800-63B-4: a biometric is never the sole factor


def _default_tiers() -> dict[str, Tier]:
    return {"balance": Tier(target_far=0.01), "transfer": Tier(target_far=0.001)}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The limits in force. ``number`` is kept with every decision and sample that they decided on."""

    number: int
    verification: VerificationLimits
    origins: Mapping[str, EnrollmentLimits]
    tiers: Mapping[str, Tier] = field(default_factory=_default_tiers)
    enrichment: Enrichment = field(default_factory=Enrichment)
    channels: Mapping[str, str] = field(default_factory=dict)
    sign_in: SignIn = field(default_factory=SignIn)

    def enrollment(self, origin: str = DEFAULT_ORIGIN) -> EnrollmentLimits:
        """Return the limits of an origin; one that the policy does not name has the default's."""
        return self.origins.get(origin, self.origins[DEFAULT_ORIGIN])

    def tier(self, name: str) -> Tier | None:
        """Return a tier; ``None`` without a name, where the policy's own rate applies. Raises ``UnknownTier``."""
        if not name:
            return None
        if name not in self.tiers:
            raise UnknownTier(tier=name, known=sorted(self.tiers))
        return self.tiers[name]

    def far_of(self, tier: str) -> float:
        """Return the false-accept rate that a call of ``tier`` is judged at. Raises ``UnknownTier``."""
        terms = self.tier(tier)
        return terms.target_far if terms else self.verification.target_far

    def channel_of(self, client: str) -> str:
        """Return the channel that holds the customer in the recordings of an API client; empty where none is named."""
        return self.channels.get(client, "")

    def as_dict(self) -> dict[str, Any]:
        """Return the whole policy as JSON values, defaults included."""
        return {
            "number": self.number,
            "enrollment": {name: asdict(limits) for name, limits in self.origins.items()},
            "verification": asdict(self.verification),
            "enrichment": asdict(self.enrichment) | {"methods": list(self.enrichment.methods)},
            "tiers": {name: asdict(tier) for name, tier in self.tiers.items()},
            "channels": dict(self.channels),
            "sign_in": {"second_factor_for": list(self.sign_in.second_factor_for)},
        }


def read(content: Mapping[str, Any], number: int) -> Policy:
    """Return the policy that a stored, valid document gives."""
    origins: dict[str, Any] = dict(content.get("enrollment", {}))
    default = replace(_default_enrollment(), **origins.pop(DEFAULT_ORIGIN, {}))
    enrichment = content.get("enrichment", {})
    tiers = _default_tiers()
    for name, departs in content.get("tiers", {}).items():
        tiers[name] = replace(tiers[name], **departs) if name in tiers else Tier(**departs)
    return Policy(
        number=number,
        verification=replace(_default_verification(), **content.get("verification", {})),
        origins={DEFAULT_ORIGIN: default} | {name: replace(default, **each) for name, each in origins.items()},
        tiers=tiers,
        enrichment=Enrichment(**enrichment | {"methods": tuple(enrichment.get("methods", ()))}),
        channels=content.get("channels", {}),
        sign_in=SignIn(second_factor_for=tuple(content.get("sign_in", {}).get("second_factor_for", ()))),
    )


def _default_enrollment() -> EnrollmentLimits:
    return EnrollmentLimits(
        min_sample_speech_seconds=settings.VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS,
        min_snr_db=settings.VOICEAUTH_MIN_SNR_DB,
        max_clipping_ratio=settings.VOICEAUTH_MAX_CLIPPING_RATIO,
        max_duration_seconds=settings.VOICEAUTH_MAX_AUDIO_SECONDS,
    )


def _default_verification() -> VerificationLimits:
    return VerificationLimits(
        min_speech_seconds=settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS,
        min_snr_db=settings.VOICEAUTH_MIN_SNR_DB,
        max_clipping_ratio=settings.VOICEAUTH_MAX_CLIPPING_RATIO,
    )


# --- what a document may hold ------------------------------------------------------------------


class RecordingDocument(StrictSerializer):
    """The limits that every recording has, of an enrollment or of a call."""

    min_snr_db = GivenNumber(required=False, min_value=-20, max_value=60, help_text="Decibels of speech over noise.")
    max_clipping_ratio = GivenNumber(
        required=False, min_value=0, max_value=1, help_text="Share of the samples of speech that are clipped, 0 to 1."
    )
    min_one_voice_llr = GivenNumber(
        required=False,
        min_value=-100,
        max_value=100,
        help_text="That one voice speaks in the two parts of a recording that are least alike, natural logarithm: "
        "below, more than one person speaks.",
    )


class EnrollmentDocument(RecordingDocument):
    """The limits of enrollment from one origin. What it leaves out stays at the default."""

    min_sample_speech_seconds = GivenNumber(
        required=False, min_value=0.2, max_value=60, help_text="Seconds of net speech that a recording needs."
    )
    max_duration_seconds = GivenNumber(
        required=False, min_value=1, max_value=120, help_text="Seconds that a recording may last."
    )
    min_cohesion_llr = GivenNumber(
        required=False,
        min_value=-100,
        max_value=100,
        help_text="To the customer's earlier recordings, as a natural logarithm of a likelihood ratio.",
    )
    duplicate_voice_llr = GivenNumber(
        required=False,
        min_value=-100,
        max_value=100,
        help_text="From here another customer's voice counts as the same, natural logarithm.",
    )
    needs_approval = serializers.BooleanField(
        required=False, help_text="A second person approves each recording before it counts."
    )


class VerificationDocument(RecordingDocument):
    """The limits of calls. What it leaves out stays at the default."""

    min_speech_seconds = GivenNumber(
        required=False, min_value=0.2, max_value=60, help_text="Seconds of net speech that a call needs to be scored."
    )
    answer_after_seconds = GivenNumber(
        required=False,
        min_value=0.2,
        max_value=60,
        help_text="Seconds of net speech after which a streamed call is answered; at least min_speech_seconds.",
    )
    target_far = GivenNumber(
        required=False,
        min_value=1e-6,
        max_value=0.05,
        help_text="How often a stranger may be accepted where the call names no tier, 0.000001 to 0.05. "
        "A model needs trials that support this rate before it may serve.",
    )
    delay_after = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=100,
        help_text="Refusals in a row, of a customer or of a caller, until calls are delayed.",
    )
    first_delay_seconds = GivenNumber(
        required=False, min_value=30, max_value=86_400, help_text="Seconds; doubled with each further refusal."
    )
    longest_delay_seconds = GivenNumber(
        required=False, min_value=30, max_value=86_400, help_text="Seconds; the delay grows no further."
    )
    lock_after = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=100,
        help_text="Refusals in a row that lock the customer (NIST SP 800-63B-4 allows 100).",
    )
    fallback = serializers.RegexField(
        NAME, required=False, help_text="The factor that an answer names beside the voice, a word of your own."
    )


class _ListsDocument(StrictSerializer):
    """A part whose choices become sorted lists, which JSON can hold."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        content: dict[str, Any] = super().to_internal_value(data)
        return {name: sorted(value) if isinstance(value, set | list) else value for name, value in content.items()}


class SignInDocument(_ListsDocument):
    """How staff sign in. What it leaves out stays at the default: the password is enough."""

    second_factor_for = serializers.MultipleChoiceField(
        choices=PEOPLES_ROLES,
        required=False,
        help_text="The roles that need a second factor to sign in. Whoever has none yet is signed out, and sets it up "
        "when they sign in again.",
    )


class EnrichmentDocument(_ListsDocument):
    """Which confirmed calls join a voiceprint. What it leaves out stays at the default: none does."""

    methods = serializers.MultipleChoiceField(
        choices=METHODS,
        required=False,
        help_text="The factors that may confirm the caller of a call that joins a voiceprint. Without any, none does.",
    )
    max_calls = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=20,
        help_text="Confirmed calls in a voiceprint. A further one takes the place of the oldest.",
    )
    max_age_days = serializers.IntegerField(
        required=False, min_value=1, max_value=3650, help_text="Days after which a confirmed call is removed again."
    )
    min_llr = GivenNumber(
        required=False,
        min_value=-100,
        max_value=100,
        help_text="To the enrolled recordings, natural logarithm: a call with less is held for a reviewer.",
    )


class TierDocument(StrictSerializer):
    """One risk tier of transactions. Every tier needs a target false-accept rate."""

    target_far = GivenNumber(
        min_value=1e-6, max_value=0.5, help_text="How often a stranger may be accepted, 0.000001 to 0.5."
    )
    further_factor_required = serializers.BooleanField(
        required=False, help_text="An ACCEPT needs another factor beside it."
    )


class _Named(serializers.DictField):
    """A JSON object whose keys are names of origins or tiers."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        content = super().to_internal_value(data)
        name = serializers.RegexField(NAME)
        for key in content:
            name.run_validation(key)
        return {key: dict(value) for key, value in content.items()}


class PolicyDocument(StrictSerializer):
    """What departs from the defaults."""

    enrollment = _Named(child=EnrollmentDocument(), required=False, help_text="By origin, and 'default'.")
    verification = VerificationDocument(required=False)
    enrichment = EnrichmentDocument(required=False)
    tiers = _Named(child=TierDocument(), required=False, help_text="By risk tier of the transaction.")
    channels = serializers.DictField(
        child=serializers.RegexField(CHANNEL),
        required=False,
        help_text="By API client: the channel that holds the customer where the channels of a recording differ and the "
        "call names none. left, right, mono, or a number from 0.",
    )
    sign_in = SignInDocument(required=False)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        content = super().to_internal_value(data)
        return {key: dict(value) for key, value in content.items()}
