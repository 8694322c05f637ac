"""What the API answers about erasures."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from voiceauth.platform.erasure.models import Erasure


class Receipt(serializers.Serializer):
    """Proof that nothing of the voice is left."""

    receipt_id = serializers.UUIDField(source="id")
    erased_at = serializers.DateTimeField(source="finished_at")


class ErasureAnswer(serializers.ModelSerializer):
    """An erasure: what was deleted at once, and how far the deletion of the files is."""

    erasure_id = serializers.UUIDField(source="id")
    customer_id = serializers.CharField(help_text="Empty for a watched voice.")
    cause = serializers.CharField(help_text="The event that began it, for example customer.erased.")
    state = serializers.ChoiceField(
        Erasure.State.choices,
        help_text="QUEUED or RUNNING until nothing is left, then SUCCEEDED. A failure is tried again.",
    )
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="What was deleted: samples, voiceprints, call_recordings, …"
    )
    error_code = serializers.CharField(help_text="Why the latest attempt failed; empty where none has.")
    requested_at = serializers.DateTimeField(source="created_at")
    receipt = serializers.SerializerMethodField(help_text="Null until nothing is left.")

    class Meta:
        model = Erasure
        fields = (
            "erasure_id",
            "customer_id",
            "cause",
            "state",
            "counts",
            "attempts",
            "error_code",
            "error_message",
            "requested_at",
            "receipt",
        )
        read_only_fields = fields

    @extend_schema_field(Receipt(allow_null=True))
    def get_receipt(self, erasure: Erasure) -> object:
        """Return the receipt; ``None`` while something is left."""
        return Receipt(erasure).data if erasure.state == Erasure.State.SUCCEEDED else None
