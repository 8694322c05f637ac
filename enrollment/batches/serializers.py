"""What the API takes and answers about batch enrollments."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from enrollment.batches.models import BatchEnrollment
from voiceauth.platform.api.serializers import StrictSerializer


class _ClientToken(serializers.RegexField):
    """An empty one is refused in a form, too: whoever sends it believes that the request can be repeated."""

    def get_value(self, dictionary: Mapping[str, Any]) -> Any:
        return dictionary.get(self.field_name, empty)


class _NewBatch(StrictSerializer):
    existing = serializers.ChoiceField(
        BatchEnrollment.Existing.choices,
        default=BatchEnrollment.Existing.SKIP,
        help_text="What becomes of a customer who is ENROLLED already.",
    )
    client_token = _ClientToken(
        r"^[A-Za-z0-9_-]{1,64}\Z",
        max_length=64,
        default=None,
        help_text="The same token with the same content gets the first job again, whenever it comes.",
    )


class BatchFromLocation(_NewBatch):
    """A batch whose manifest lies in the storage of batches."""

    manifest = serializers.CharField(
        max_length=1024, trim_whitespace=False, help_text="Its location, relative to the storage."
    )


class BatchFromUpload(_NewBatch):
    """A batch whose manifest comes with the request."""

    manifest = serializers.FileField(help_text="JSON lines or parquet, at most 10 MB.")


class BatchAnswer(serializers.ModelSerializer):
    manifest = serializers.CharField(help_text="Its location; empty for an uploaded one.")
    total = serializers.IntegerField(help_text="Customers in the manifest, once it was read.")
    progress_percent = serializers.FloatField()

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
