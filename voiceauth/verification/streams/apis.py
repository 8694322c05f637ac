"""Tickets of streamed calls, and what became of them, for the IVR."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated
from voiceauth.policies import selectors as policies
from voiceauth.verification import selectors
from voiceauth.verification.streams import steps, tickets
from voiceauth.verification.streams.serializers import StreamAnswer, StreamTicket, VerifyStreamSerializer
from voiceauth.verification.streams.tickets import Claim


@extend_schema(tags=["calls"])
class StreamList(APIView):
    """Tickets for streamed calls."""

    permission_classes = (needs(steps.SCOPE),)

    @extend_schema(request=VerifyStreamSerializer, responses={201: StreamTicket})
    def post(self, request: Request) -> Response:
        """Get a ticket, with which a telephone platform streams one call without a token of its own."""
        claim = Claim(**validated(VerifyStreamSerializer, request.data))
        policies.in_force().tier(claim.tier)
        stream_id, ticket, expires_at = tickets.issue(request.user, claim)
        content = {"stream_id": stream_id, "ticket": ticket, "expires_at": expires_at, "path": steps.PATH}
        return Response(StreamTicket(content).data, status=201)


@extend_schema(tags=["calls"])
class StreamDetail(APIView):
    """One streamed call."""

    permission_classes = (needs(steps.SCOPE),)

    @extend_schema(responses=StreamAnswer)
    def get(self, request: Request, stream_id: UUID) -> Response:
        """Show how far a streamed call is that a ticket of yours was made for, and its decision."""
        decision = selectors.decision_of(stream_id, actor=request.user.name)
        state, error = "ANSWERED", None
        if decision is None:
            found = tickets.fate(stream_id, request.user)
            state, error = found.state, found.error
        content = {"stream_id": stream_id, "state": state, "decision": decision, "error": error}
        return Response(StreamAnswer(content).data)
