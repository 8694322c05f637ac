"""What the API takes and answers about watchlists and cases."""

from typing import Any

from rest_framework import serializers

from voiceauth.platform.api.serializers import NumbersDict, Probability, StrictSerializer
from voiceauth.platform.api.uploads import AudioField, ChannelField, FormatField
from voiceauth.screening.models import CaseComment, Fraudster, ReviewCase, Watchlist


class NewWatchlist(StrictSerializer):
    """A further watchlist."""

    name = serializers.CharField(max_length=64)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class WatchlistAnswer(serializers.ModelSerializer):
    """A watchlist and how many fraudsters are on it."""

    watchlist_id = serializers.UUIDField(source="id")
    fraudster_count = serializers.IntegerField()

    class Meta:
        model = Watchlist
        fields = ("watchlist_id", "name", "description", "is_default", "fraudster_count", "created_by", "created_at")
        read_only_fields = fields


class NewFraudster(StrictSerializer):
    """A voice for a watchlist, from exactly one of: a recording, the call of a decision, a known fraudster."""

    audio = AudioField(required=False, help_text="At most 10 MB and 120 s.")
    channel = ChannelField()
    format = FormatField()
    decision_id = serializers.UUIDField(required=False, help_text="Takes the call of this decision.")
    fraudster_id = serializers.UUIDField(required=False, help_text="Takes a fraudster from another watchlist.")
    note = serializers.CharField(
        max_length=500, required=False, allow_blank=True, default="", help_text="Give no name here."
    )
    another_person = serializers.BooleanField(
        required=False, default=False, help_text="It is not the known fraudster who sounds like it."
    )
    reason = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        default="",
        help_text="Asks for a second person's approval where the voice is a customer's own.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check that the voice comes from exactly one source."""
        if sum(name in attrs for name in ("audio", "decision_id", "fraudster_id")) != 1:
            raise serializers.ValidationError({"audio": ["Give exactly one of audio, decision_id and fraudster_id."]})
        for name in ("channel", "format"):
            if "audio" not in attrs and attrs.pop(name):
                raise serializers.ValidationError({name: ["It is about `audio`. Give both."]})
        return attrs


class FraudsterAnswer(serializers.ModelSerializer):
    """A voice on a watchlist. It has no name."""

    fraudster_id = serializers.UUIDField(source="id")
    watchlists = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Fraudster
        fields = (
            "fraudster_id",
            "watchlists",
            "note",
            "source",
            "speech_seconds",
            "created_by",
            "created_at",
            "expires_at",
        )
        read_only_fields = fields


class FraudReason(serializers.Serializer):
    """One reason for a high risk."""

    code = serializers.CharField(help_text="KNOWN_FRAUDSTER, REPLAY, VELOCITY, DUPLICATE_VOICE.")
    score = Probability(help_text="From 0 to 1.")


class FraudRisk(serializers.Serializer):
    """What screening found."""

    level = serializers.ChoiceField(
        ["HIGH_RISK", "LOW_RISK"], help_text="HIGH_RISK where there is a reason to suspect fraud."
    )
    reasons = FraudReason(many=True)


class CommentAnswer(serializers.ModelSerializer):
    """A comment on a case."""

    class Meta:
        model = CaseComment
        fields = ("text", "author", "created_at")
        read_only_fields = fields


class CaseAnswer(serializers.ModelSerializer):
    """A review case with its evidence and comments."""

    evidence = serializers.ListField(
        child=NumbersDict(), help_text="The first and the latest: at, reason, score, decision_id, …"
    )
    comments = CommentAnswer(many=True)

    class Meta:
        model = ReviewCase
        fields = (
            "number",
            "kind",
            "customer_id",
            "state",
            "resolution",
            "evidence",
            "hits",
            "comments",
            "assigned_to",
            "opened_at",
            "closed_at",
            "closed_by",
        )
        read_only_fields = fields


class Assignment(StrictSerializer):
    """Who works on the case."""

    to = serializers.CharField(max_length=128, required=False, help_text="A name. By default yourself.")


class NewComment(StrictSerializer):
    """A comment on a case."""

    text = serializers.CharField(max_length=2000)


class Closing(StrictSerializer):
    """How the case ended, and why."""

    resolution = serializers.ChoiceField(
        ReviewCase.Resolution.choices,
        help_text="The next calibration takes the calls of CONFIRMED_FRAUD as impostors' (except in a REPLAY case, "
        "where the voice is the customer's own) and those of FALSE_ALARM as the customer's.",
    )
    comment = serializers.CharField(max_length=2000, help_text="How you came to this resolution.")


class Reopening(StrictSerializer):
    """Why a closed case is worked on again."""

    reason = serializers.CharField(max_length=2000)
