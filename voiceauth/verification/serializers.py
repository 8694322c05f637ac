"""What the API takes and answers about calls and decisions."""

from copy import copy
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from enrollment.models import customer_id_validator
from voiceauth.platform.api.parsers import loads
from voiceauth.platform.api.serializers import AnswerSerializer, Number, NumbersDict, Probability, StrictSerializer
from voiceauth.platform.api.uploads import AudioField, ChannelField, FormatField, IntervalList
from voiceauth.policies.document import METHODS, NAME_OR_NOTHING
from voiceauth.screening.serializers import FraudRisk
from voiceauth.verification.confirmations import ADDED, HELD, NOT_ADDED, REVOKED
from voiceauth.verification.models import Decision

AUDIO_HELP = "At most 10 MB and 120 s, in any format of a telephone system or a browser."
Result = Decision.Result


class ClaimSerializer(StrictSerializer):
    """Who the caller claims to be, and for what."""

    customer_id = serializers.CharField(
        max_length=64, trim_whitespace=False, validators=[customer_id_validator], help_text="The claimed identity."
    )
    tier = serializers.RegexField(
        NAME_OR_NOTHING,
        required=False,
        default="",
        allow_blank=True,
        help_text="The risk tier of the transaction, as the policy names it: balance, transfer, …",
    )
    caller = serializers.CharField(
        max_length=128,
        required=False,
        default="",
        allow_blank=True,
        help_text="The caller, such as the calling number, kept as a keyed hash. Refusals are counted for it.",
    )


class VerifySerializer(ClaimSerializer):
    """A call and who the caller claims to be."""

    audio = AudioField(help_text=AUDIO_HELP)
    channel = ChannelField()
    format = FormatField()
    redact = IntervalList(required=False, default=())


class CandidateList(serializers.ListField):
    """A list as form encoders send it: a repeated field, one comma-separated value, or a JSON list."""

    child = serializers.CharField(max_length=64, trim_whitespace=False, validators=[customer_id_validator])

    def to_internal_value(self, data: Any) -> list[str]:
        """Return the identifiers, however the form has sent them."""
        if isinstance(data, list) and all(isinstance(each, str) for each in data):
            if len(data) == 1 and data[0].lstrip().startswith("["):
                try:
                    data = loads(data[0])
                except ValueError:
                    raise serializers.ValidationError("Not a JSON list.") from None
            else:
                data = [name.strip() for each in data for name in each.split(",")]
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not isinstance(error.detail, dict):
                raise
            wrong = [f"{data[place]!r}: {' '.join(said)}" for place, said in error.detail.items()]
            raise serializers.ValidationError(wrong) from None


class IdentifySerializer(StrictSerializer):
    """A call whose caller claims nobody."""

    audio = AudioField(help_text=AUDIO_HELP)
    candidates = CandidateList(
        required=False,
        default=None,
        min_length=1,
        max_length=1000,
        help_text="Compare with these customers only. Customers who are not enrolled are not: `left_out` names them.",
    )
    max_results = serializers.IntegerField(required=False, default=5, min_value=1, max_value=100)
    channel = ChannelField()
    format = FormatField()
    redact = IntervalList(required=False, default=())


class ScoringModel(serializers.Serializer):
    """The model and the calibration that scored a call."""

    version = serializers.CharField(source="model_version")
    calibration_version = serializers.CharField()
    fingerprint = serializers.CharField(source="model_fingerprint")


class Candidate(serializers.Serializer):
    """One customer, and how the call compares with the customer's voiceprint."""

    customer_id = serializers.CharField()
    probability = Probability()
    log_likelihood_ratio = Number()
    over_threshold = serializers.BooleanField()


class DecisionBase(AnswerSerializer):
    """What all answers about a decision share."""

    decision_id = serializers.UUIDField(source="id")
    probability = Probability(allow_null=True)
    threshold = Probability(allow_null=True, help_text="The probability from which a call is accepted.")
    reasons = serializers.ListField(
        child=serializers.CharField(),
        help_text="Why: TOO_NOISY, CLIPPED, VOICEPRINT_STALE or MORE_THAN_ONE_SPEAKER for INCONCLUSIVE; REPLAY or "
        "MORE_THAN_ONE_SPEAKER for a refusal.",
    )
    model = serializers.SerializerMethodField(help_text="The model that scored the call; null without a score.")
    fallback_required = serializers.SerializerMethodField(
        help_text="Whether to ask for another factor instead. Voice is never the sole factor, whatever the decision."
    )

    fallback = serializers.CharField(help_text="The factor to ask for, by policy.")
    fraud_risk = serializers.SerializerMethodField(
        help_text="HIGH_RISK where there is a reason: KNOWN_FRAUDSTER, REPLAY, VELOCITY. Null without a voice to judge."
    )
    further_factor_required = serializers.BooleanField(
        help_text="Whether even an ACCEPT needs another factor. By policy, for the tier."
    )

    @extend_schema_field(ScoringModel(allow_null=True))
    def get_model(self, decision: Decision) -> Any:
        """Return the model that scored the call; ``None`` without a score."""
        return ScoringModel(decision).data if decision.model_version else None

    @extend_schema_field(FraudRisk(allow_null=True))
    def get_fraud_risk(self, decision: Decision) -> Any:
        """Return what screening found; ``None`` where no voice was judged."""
        return FraudRisk(decision.fraud_risk).data if decision.fraud_risk else None

    def get_fallback_required(self, decision: Decision) -> bool:
        """Return whether another factor must stand in for the voice."""
        return decision.decision not in (Result.ACCEPT, Result.MATCH)


class VerifyAnswer(DecisionBase):
    """The decision on a claimed identity. Probability and log-likelihood ratio come with ACCEPT and REJECT only.

    An unknown customer, a locked one, and too many attempts get the same answer as a voice that is refused.
    """

    class Meta:
        model = Decision
        fields = (
            "decision_id",
            "customer_id",
            "decision",
            "reasons",
            "probability",
            "threshold",
            "log_likelihood_ratio",
            "speech_seconds",
            "truncated",
            "model",
            "tier",
            "fallback_required",
            "fallback",
            "further_factor_required",
            "fraud_risk",
            "created_at",
        )
        read_only_fields = fields

    def to_representation(self, decision: Decision) -> dict[str, Any]:
        """Return what the caller is told, which may hide the cause."""
        shown = copy(decision)
        for name, value in (decision.told or {}).items():
            setattr(shown, name, value)
        return super().to_representation(shown)


class IdentifyAnswer(DecisionBase):
    """Ranked candidates. Each row is a verification trial of its own at the same threshold.

    The more candidates there are, the likelier a stranger passes for one of them. Give few, or verify a claim.
    """

    match = serializers.SerializerMethodField(help_text="The best candidate over the threshold; null for no match.")
    results = Candidate(source="candidates", many=True)
    left_out = serializers.ListField(
        child=serializers.CharField(),
        help_text="Of the `candidates` given: who was not compared, because no such customer is enrolled.",
    )

    class Meta:
        model = Decision
        fields = (
            "decision_id",
            "decision",
            "reasons",
            "match",
            "results",
            "left_out",
            "threshold",
            "speech_seconds",
            "truncated",
            "model",
            "fallback_required",
            "fallback",
            "further_factor_required",
            "fraud_risk",
            "created_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_match(self, decision: Decision) -> str | None:
        """Return the identified customer; ``None`` where nobody matched."""
        return decision.customer_id or None


class NewConfirmation(StrictSerializer):
    """What has confirmed the caller."""

    method = serializers.ChoiceField(METHODS, help_text="The factor other than the voice; the policy says which count.")


class ConfirmationAnswer(serializers.Serializer):
    """What became of a confirmed call."""

    decision_id = serializers.UUIDField()
    method = serializers.CharField()
    outcome = serializers.ChoiceField(
        [ADDED, HELD, NOT_ADDED, REVOKED],
        help_text="ADDED: the call is a part of the voiceprint. HELD: a reviewer decides. NOT_ADDED: the audit trail "
        "says why. REVOKED: it was removed.",
    )


class DecisionAnswer(DecisionBase):
    """Everything that a decision rested on, for the reviewer."""

    confirmed_by = serializers.CharField(
        allow_null=True, help_text="The factor that confirmed the caller, where the call was added to the voiceprint."
    )
    candidates = Candidate(many=True)
    told = NumbersDict(allow_null=True, help_text="What the caller was told where the cause is hidden.")
    redacted = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))

    class Meta:
        model = Decision
        fields = (
            "decision_id",
            "kind",
            "customer_id",
            "decision",
            "reasons",
            "probability",
            "threshold",
            "log_likelihood_ratio",
            "score",
            "candidates",
            "speech_seconds",
            "enrollment_speech_seconds",
            "snr_db",
            "clipping_ratio",
            "model",
            "tier",
            "policy",
            "fallback_required",
            "fallback",
            "further_factor_required",
            "fraud_risk",
            "caller",
            "channel",
            "truncated",
            "redacted",
            "told",
            "confirmed_by",
            "actor",
            "request_id",
            "scoring_milliseconds",
            "created_at",
        )
        read_only_fields = fields
