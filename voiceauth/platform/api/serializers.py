"""Base serializers of the edge."""

import math
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.http import QueryDict
from rest_framework import serializers

from voiceauth.platform.api.parsers import refuse_repeated

SIGNIFICANT_DIGITS = 4  # more say nothing about a voice


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know or that are given twice: neither may be ignored in silence."""

    def to_internal_value(self, data: Any) -> Any:
        """Raise ``ValidationError`` for unknown fields and ``RepeatedField`` for repeated ones."""
        if isinstance(data, Mapping):
            unknown = sorted(set(map(str, data)) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["Unknown field."] for name in unknown}, code="unknown_field")
        if isinstance(data, QueryDict):
            lists = [name for name, field in self.fields.items() if isinstance(field, serializers.ListField)]
            refuse_repeated(data, lists=lists)
        return super().to_internal_value(data)


class GivenNumber(serializers.FloatField):
    """A finite number that a caller sends. DRF's own field also takes the strings ``nan`` and ``inf``."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number. Raises ``ValidationError`` for what is not finite."""
        try:
            number = super().to_internal_value(data)
        except OverflowError:  # an integer that no double can hold
            number = math.inf
        if not math.isfinite(number):
            self.fail("invalid")
        return number


def validated(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return the fields of a request. Raises ``ValidationError``, which names those that are wrong."""
    given = serializer(data=data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class Number(serializers.FloatField):
    """A measured number, rounded to four significant digits for people. What is stored stays exact."""

    def to_representation(self, value: Any) -> float:
        """Return the rounded number."""
        return rounded(super().to_representation(value))


class Probability(serializers.FloatField):
    """A probability or a threshold on one, with four significant digits of its distance to the nearer of 0 and 1.

    So 0.99998123 stays apart from 1. What is stored, and what decided, stays exact.
    """

    def to_representation(self, value: Any) -> float:
        """Return the rounded probability."""
        return rounded_probability(super().to_representation(value))


class NumbersDict(serializers.DictField):
    """A JSON object with its measured numbers rounded."""

    def to_representation(self, value: Any) -> Any:
        """Return the object with its numbers rounded."""
        return rounded_throughout(super().to_representation(value))


class AnswerSerializer(serializers.ModelSerializer):
    """An answer about a row. Its measured numbers are rounded for people; what is stored stays exact."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {models.FloatField: Number}


def rounded(value: float) -> float:
    """Return ``value`` with four significant digits."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def rounded_probability(value: float) -> float:
    """Return ``value``, in [0, 1], with four significant digits of its distance to the nearer end."""
    return rounded(value) if value <= 0.5 else round(1 - rounded(1 - value), 12)


def rounded_throughout(content: Any) -> Any:
    """Return JSON values with every measured number in them rounded: a probability or a threshold as one."""
    if isinstance(content, float):
        return rounded(content)
    if isinstance(content, Mapping):
        return {
            name: rounded_probability(value)
            if name in ("probability", "threshold") and isinstance(value, float) and 0 <= value <= 1
            else rounded_throughout(value)
            for name, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [rounded_throughout(value) for value in content]
    return content


class ErrorSerializer(serializers.Serializer):
    """What went wrong."""

    code = serializers.CharField(help_text="Stable; for programs.")
    message = serializers.CharField(help_text="For people; may change.")
    data = serializers.DictField(help_text="What the code needs, for example `fields` of a validation_error.")
    request_id = serializers.CharField(help_text="The X-Request-ID of this answer; quote it to support.")


class ErrorEnvelope(serializers.Serializer):
    """Every refusal and failure of the API has this shape."""

    error = ErrorSerializer()
