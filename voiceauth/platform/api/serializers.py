"""Base serializers of the edge."""

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from voiceauth.platform.api.parsers import refuse_repeated


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know or that are given twice: neither may be ignored in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(set(map(str, data)) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["Unknown field."] for name in unknown}, code="unknown_field")
        if isinstance(data, QueryDict):
            lists = [name for name, field in self.fields.items() if isinstance(field, serializers.ListField)]
            refuse_repeated(data, lists=lists)
        return super().to_internal_value(data)


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="Stable; for programs.")
    message = serializers.CharField(help_text="For people; may change.")
    data = serializers.DictField(help_text="What the code needs, for example `fields` of a validation_error.")
    request_id = serializers.CharField(help_text="The X-Request-ID of this answer; quote it to support.")


class ErrorEnvelope(serializers.Serializer):
    """Every refusal and failure of the API has this shape."""

    error = ErrorSerializer()
