"""What the API takes and answers about streamed calls."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from voiceauth.platform.api.serializers import ErrorSerializer, GivenNumber, StrictSerializer
from voiceauth.verification.serializers import ClaimSerializer, VerifyAnswer


class VerifyStreamSerializer(ClaimSerializer):
    """Who the caller of a streamed call claims to be."""

    follow_seconds = GivenNumber(
        required=False,
        default=0.0,
        min_value=0,
        max_value=600,
        help_text="Seconds of further speech after which the call is compared again once it is answered, to notice a "
        "change of speaker. 0: the answer ends the stream.",
    )


class TicketSerializer(StrictSerializer):
    """The custom parameters of a stream whose handshake had no token."""

    ticket = serializers.RegexField(r"^[A-Za-z0-9_-]{43}\Z")


class StreamTicket(serializers.Serializer):
    """What lets a telephone platform stream one call."""

    stream_id = serializers.UUIDField(help_text="Also the id of the decision that the stream leads to.")
    ticket = serializers.CharField(help_text="The custom parameter `ticket` of the stream. It works once.")
    expires_at = serializers.DateTimeField()
    path = serializers.CharField(help_text="Where the platform connects, on this server, by WebSocket.")


class StreamAnswer(serializers.Serializer):
    """How far a streamed call is."""

    stream_id = serializers.UUIDField()
    state = serializers.ChoiceField(
        ["WAITING", "LISTENING", "ANSWERED", "FAILED"],
        help_text="WAITING: the platform has not connected. LISTENING: there is no answer yet. ANSWERED: `decision` is "
        "there. FAILED: `error` says why nothing was decided.",
    )
    decision = serializers.SerializerMethodField(help_text="As the answer of POST /verify; null before it.")
    error = ErrorSerializer(allow_null=True)

    @extend_schema_field(VerifyAnswer(allow_null=True))
    def get_decision(self, stream: Any) -> Any:
        """Return what the caller is told; ``None`` before there is a decision."""
        return VerifyAnswer(stream["decision"]).data if stream["decision"] else None
