"""Requests and answers of the API on batch enrollments."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from enrollment.batches.models import BatchEnrollment
from voiceauth.platform.api.serializers import Number, StrictSerializer


class _ClientToken(serializers.RegexField):
    """Refuse an empty token in a form too, where DRF would take it for an absent one: its sender relies on it."""

    def get_value(self, dictionary: Mapping[str, Any]) -> Any:
        return dictionary.get(self.field_name, empty)


class _NewBatch(StrictSerializer):
    existing = serializers.ChoiceField(
        BatchEnrollment.Existing.choices,
        default=BatchEnrollment.Existing.SKIP,
        help_text="What happens to a customer who is ENROLLED already.",
    )
    client_token = _ClientToken(
        r"^[A-Za-z0-9_-]{1,64}\Z",
        max_length=64,
        default=None,
        help_text="A request with the same token and the same content answers the first job again, at any time.",
    )


class BatchFromLocation(_NewBatch):
    """A batch whose manifest is in the storage of batches."""

    manifest = serializers.CharField(
        max_length=1024, trim_whitespace=False, help_text="Its location, relative to the storage."
    )


class BatchFromUpload(_NewBatch):
    """A batch whose manifest comes with the request."""

    manifest = serializers.FileField(help_text="JSON lines or parquet, at most 10 MB.")


class BatchAnswer(serializers.ModelSerializer):
    """One job, with the number of customers by result."""

    manifest = serializers.CharField(help_text="Location of the manifest; empty if it was uploaded.")
    total = serializers.IntegerField(help_text="Customers in the manifest, once it was read.")
    progress_percent = Number()

    class Meta:
        model = BatchEnrollment
        fields = (
            "id",
            "state",
            "existing",
            "manifest",
            "client_token",
            "progress_percent",
            "total",
            "enrolled",
            "enrolling",
            "skipped",
            "failed",
            "error_code",
            "error_message",
            "cancel_requested",
            "requested_by",
            "created_at",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields
