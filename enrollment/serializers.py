"""What the API takes and answers about customers."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from enrollment import selectors
from enrollment.models import AudioSample, ConfirmedCall, Consent, ConsentText, Customer, customer_id_validator
from voiceauth.platform.api.serializers import AnswerSerializer, Number, StrictSerializer, rounded
from voiceauth.platform.api.uploads import AudioField, ChannelField, FormatField, IntervalList
from voiceauth.policies.document import DEFAULT_ORIGIN, NAME_OR_NOTHING


class NewCustomer(StrictSerializer):
    """A new customer."""

    customer_id = serializers.CharField(
        max_length=64, trim_whitespace=False, validators=[customer_id_validator], help_text="The bank's own identifier."
    )
    display_name = serializers.CharField(max_length=128, required=False, allow_blank=True, default="")


class ConsentSerializer(StrictSerializer):
    """A consent or its withdrawal. Where it was given is its ``origin``; ``channel`` is read as the same."""

    def to_internal_value(self, data: Any) -> Any:
        """Take ``channel`` for ``origin`` where there is no ``origin``."""
        if isinstance(data, Mapping) and "channel" in data and "origin" not in data:
            data = {("origin" if name == "channel" else name): value for name, value in data.items()}
        return super().to_internal_value(data)


class NewConsent(ConsentSerializer):
    """What a customer agreed to."""

    purpose = serializers.ChoiceField(Consent.Purpose.choices)
    text_version = serializers.CharField(max_length=64, help_text="Which text the customer agreed to.")
    text_sha256 = serializers.RegexField(
        r"^([0-9a-f]{64})?\Z",
        required=False,
        default="",
        allow_blank=True,
        help_text="SHA-256 in hexadecimal of the text that was shown, in UTF-8. Refused if another text is stored.",
    )
    origin = serializers.CharField(max_length=32, help_text="Where the customer agreed: branch, phone, app, web, …")


class ConsentWithdrawal(ConsentSerializer):
    """A withdrawal. All fields are optional: it erases the voice, whatever it was given for."""

    purpose = serializers.ChoiceField(Consent.Purpose.choices, default=Consent.Purpose.VOICE_AUTHENTICATION)
    text_version = serializers.CharField(max_length=64, required=False)
    origin = serializers.CharField(max_length=32, default="")


class NewSample(StrictSerializer):
    """A recording to enroll."""

    audio = AudioField(help_text="At most 10 MB and 120 s, in any format of a telephone system or a browser.")
    origin = serializers.RegexField(
        NAME_OR_NOTHING,
        required=False,
        default=DEFAULT_ORIGIN,
        allow_blank=True,
        help_text="Where the recording was made: phone, branch, app, … The policy has limits for each.",
    )
    channel = ChannelField()
    format = FormatField()
    redact = IntervalList(required=False, default=())

    def validate_origin(self, origin: str) -> str:
        """Take an empty origin for the default one."""
        return origin or DEFAULT_ORIGIN


class Reason(StrictSerializer):
    """Why something is done."""

    reason = serializers.CharField(max_length=500, help_text="Why, for the trail.")


class NewConsentText(StrictSerializer):
    """A text that customers are shown."""

    version = serializers.RegexField(
        r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\Z", help_text="What consents name as their `text_version`."
    )
    text = serializers.CharField(
        max_length=50_000, trim_whitespace=False, help_text="The text, as customers see it. It cannot change."
    )


class ConsentTextAnswer(serializers.ModelSerializer):
    """A consent text. It never changes."""

    sha256 = serializers.CharField(help_text="SHA-256 of the text in UTF-8.")

    class Meta:
        model = ConsentText
        fields = ("version", "sha256", "text", "created_at", "created_by")
        read_only_fields = fields


class ConsentAnswer(serializers.ModelSerializer):
    """One consent; withdrawn ones are listed as well."""

    text_sha256 = serializers.CharField(
        help_text="SHA-256 of the text that the customer agreed to; empty where the version was not stored then."
    )

    class Meta:
        model = Consent
        fields = ("purpose", "text_version", "text_sha256", "origin", "granted_at", "withdrawn_at")
        read_only_fields = fields


class ConsentProof(ConsentAnswer):
    """One consent, who recorded it, and the text that the customer agreed to."""

    text = serializers.SerializerMethodField(help_text="The text whose hash the consent holds; null where it has none.")

    class Meta:
        model = Consent
        fields = (*ConsentAnswer.Meta.fields, "granted_by", "text")
        read_only_fields = fields

    def get_text(self, consent: Consent) -> str | None:
        """Return the text; ``None`` where the version was not stored when the customer agreed."""
        return selectors.consent_text(consent.text_version).text if consent.text_sha256 else None


class ConsentProofs(serializers.ModelSerializer):
    """All that a customer ever agreed to, the latest first, with the texts."""

    consents = ConsentProof(many=True)

    class Meta:
        model = Customer
        fields = ("customer_id", "state", "consents")
        read_only_fields = fields


class CustomerAnswer(AnswerSerializer):
    """A customer's state, and how far the enrollment is."""

    speech_seconds = Number(help_text="Net speech over the accepted samples, without confirmed calls.")
    confirmed_calls = serializers.SerializerMethodField(
        help_text="Calls in the voiceprint that another factor confirmed."
    )
    remaining_seconds = serializers.SerializerMethodField(
        help_text="Net speech that the customer still needs to be enrolled."
    )
    consents = ConsentAnswer(many=True)

    class Meta:
        model = Customer
        fields = (
            "customer_id",
            "display_name",
            "state",
            "speech_seconds",
            "remaining_seconds",
            "confirmed_calls",
            "consents",
            "created_at",
            "enrolled_at",
            "last_accessed_at",
        )
        read_only_fields = fields

    def get_remaining_seconds(self, customer: Customer) -> float:
        """Return the net speech that is missing, in seconds."""
        return rounded(selectors.remaining_seconds(customer))

    def get_confirmed_calls(self, customer: Customer) -> int:
        """Return how many confirmed calls count."""
        return sum(1 for call in customer.confirmed_calls.all() if call.sample and not call.sample.held_for)


class HeldFor(serializers.ListField):
    """Why a recording is held."""

    def __init__(self) -> None:
        super().__init__(
            child=serializers.CharField(),
            help_text="Why the recording is pending approval and does not count yet. APPROVAL: the origin needs a "
            "second person. REVIEW, COHESION: a reviewer looks into it.",
        )


class SampleConfirmation(AnswerSerializer):
    """What confirmed the caller of a call that was added to the voiceprint."""

    class Meta:
        model = ConfirmedCall
        fields = ("decision_id", "method")
        read_only_fields = fields


class SampleAnswer(AnswerSerializer):
    """One recording: its format, its quality, the limits that it met, and the call that it is of, if it is of one."""

    sample_id = serializers.UUIDField(source="id")
    held_for = HeldFor()
    redacted = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()),
        help_text="[[start, end], …] in seconds of the upload: what was cut out.",
    )
    confirmation = serializers.SerializerMethodField(
        help_text="The decision and the factor of a confirmed call; null for an enrolled recording."
    )

    class Meta:
        model = AudioSample
        fields = (
            "sample_id",
            "created_at",
            "created_by",
            "byte_count",
            "container",
            "codec",
            "sample_rate",
            "duration_seconds",
            "speech_seconds",
            "snr_db",
            "clipping_ratio",
            "channel",
            "truncated",
            "origin",
            "policy",
            "redacted",
            "held_for",
            "approved_by",
            "confirmation",
        )
        read_only_fields = fields

    @extend_schema_field(SampleConfirmation(allow_null=True))
    def get_confirmation(self, sample: AudioSample) -> Any:
        """Return what confirmed the caller; ``None`` for an enrolled recording."""
        return SampleConfirmation(sample.confirmation).data if hasattr(sample, "confirmation") else None


class HeldRecordingAnswer(SampleAnswer):
    """A recording that is pending approval, and whose it is."""

    customer_id = serializers.CharField(source="customer.customer_id")

    class Meta:
        model = AudioSample
        fields = ("customer_id", *SampleAnswer.Meta.fields)
        read_only_fields = fields


class QualityReportAnswer(AnswerSerializer):
    """The format and the quality of a recording."""

    class Meta:
        model = AudioSample
        fields = (
            "duration_seconds",
            "speech_seconds",
            "snr_db",
            "clipping_ratio",
            "container",
            "codec",
            "sample_rate",
            "channel",
            "truncated",
        )
        read_only_fields = fields


class EnrollmentAnswer(serializers.Serializer):
    """The accepted sample, its quality, and how far the customer's enrollment is."""

    sample_id = serializers.UUIDField(source="id")
    created_at = serializers.DateTimeField()
    quality = QualityReportAnswer(source="*")
    customer_id = serializers.CharField(source="customer.customer_id")
    held_for = HeldFor()
    state = serializers.ChoiceField(Customer.State.choices, source="customer.state")
    speech_seconds = Number(source="customer.speech_seconds")
    remaining_seconds = serializers.SerializerMethodField()

    @extend_schema_field(serializers.FloatField())
    def get_remaining_seconds(self, sample: Any) -> float:
        """Return the net speech that the customer is missing, in seconds."""
        return rounded(selectors.remaining_seconds(sample.customer))
