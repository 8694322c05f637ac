"""Verify and identify for the IVR; decisions for the reviewer."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django_filters.rest_framework import CharFilter
from drf_spectacular.utils import extend_schema
from rest_framework import generics, parsers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import MomentFilter, StrictFilterSet
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated
from voiceauth.verification import confirmations, selectors, services
from voiceauth.verification.models import Decision
from voiceauth.verification.serializers import (
    ConfirmationAnswer,
    DecisionAnswer,
    IdentifyAnswer,
    IdentifySerializer,
    NewConfirmation,
    VerifyAnswer,
    VerifySerializer,
)

BESIDES_SECONDS = 10  # of a call, in which no worker is waited for


class Call(IdempotentCreate):
    """What verification and identification have in common: a caller waits on the line."""

    def reserved_for(self) -> timedelta:
        """Return the time for two questions to a worker, and for what there is besides."""
        return timedelta(seconds=2 * settings.VOICEAUTH_SCORING_DEADLINE_SECONDS + BESIDES_SECONDS)


@extend_schema(tags=["calls"])
class Verify(Call, APIView):
    """Verification of a claimed identity."""

    permission_classes = (needs("calls:verify"),)
    parser_classes = (parsers.MultiPartParser,)

    @extend_schema(request={"multipart/form-data": VerifySerializer}, responses={200: VerifyAnswer})
    def post(self, request: Request) -> Response:
        """Decide whether this is the voice of the claimed customer."""
        decision = services.verify(**validated(VerifySerializer, request.data), actor=actor_of(request))
        return Response(VerifyAnswer(decision).data)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the decision that the first request committed."""
        return Response(VerifyAnswer(selectors.decision(UUID(identifier))).data) if kind == "decision" else None


@extend_schema(tags=["calls"])
class Identify(Call, APIView):
    """Identification among the enrolled customers."""

    permission_classes = (needs("calls:identify"),)
    parser_classes = (parsers.MultiPartParser,)

    @extend_schema(request={"multipart/form-data": IdentifySerializer}, responses={200: IdentifyAnswer})
    def post(self, request: Request) -> Response:
        """Find whose voice this is: ranked candidates, or NO_MATCH."""
        decision = services.identify(**validated(IdentifySerializer, request.data), actor=actor_of(request))
        return Response(IdentifyAnswer(decision).data)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the decision that the first request committed."""
        return Response(IdentifyAnswer(selectors.decision(UUID(identifier))).data) if kind == "decision" else None


class DecisionFilter(StrictFilterSet):
    """Narrow a list of decisions by customer, decision, kind, model and time."""

    created_after = MomentFilter("created_at", "gte")
    created_before = MomentFilter("created_at", "lt")
    model_version = CharFilter(method="of_model")

    class Meta:
        model = Decision
        fields = ("customer_id", "decision", "kind", "model_version")

    def of_model(self, found: QuerySet[Decision], name: str, value: str) -> QuerySet[Decision]:
        """Narrow the list to the calls that one model decided."""
        return selectors.of_model(found, value)


@extend_schema(tags=["decisions"])
class DecisionList(generics.ListAPIView):
    """List all decisions, the latest first."""

    permission_classes = (needs("decisions:read"),)
    serializer_class = DecisionAnswer
    filterset_class = DecisionFilter

    def get_queryset(self) -> QuerySet[Decision]:
        """Select the rows of the list."""
        return selectors.decisions()


@extend_schema(tags=["decisions"])
class DecisionDetail(APIView):
    """One decision."""

    permission_classes = (needs("decisions:read"),)

    @extend_schema(responses=DecisionAnswer)
    def get(self, request: Request, decision_id: UUID) -> Response:
        """Show one decision, and everything that it rested on."""
        return Response(DecisionAnswer(selectors.decision(decision_id)).data)


@extend_schema(tags=["decisions"])
class DecisionConfirmation(IdempotentCreate, APIView):
    """The confirmation of a caller by another factor than the voice."""

    permission_classes = (needs("confirmations:write", deletes="confirmations:revoke"),)

    @extend_schema(request=NewConfirmation, responses={201: ConfirmationAnswer})
    def post(self, request: Request, decision_id: UUID) -> Response:
        """State that another factor has confirmed the caller: the call joins the customer's voiceprint.

        It does where the policy accepts the method, its audio was kept, and it sounds like the enrolled recordings.
        """
        data = validated(NewConfirmation, request.data)
        found = confirmations.confirm(decision_id=decision_id, **data, actor=actor_of(request))
        return Response(ConfirmationAnswer(found).data, status=201)

    @extend_schema(responses={200: ConfirmationAnswer})
    def delete(self, request: Request, decision_id: UUID) -> Response:
        """Remove a confirmed call from the voiceprint. It cannot be added again."""
        found = confirmations.revoke(decision_id=decision_id, actor=actor_of(request))
        return Response(ConfirmationAnswer(found).data)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with what the first request committed."""
        if kind != "decision":
            return None
        given = validated(NewConfirmation, self.request.data)
        found = confirmations.outcome_of(UUID(identifier), given["method"])
        return Response(ConfirmationAnswer(found).data, status=201)
