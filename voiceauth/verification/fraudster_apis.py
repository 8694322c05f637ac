"""The voices of a watchlist over HTTP: of a recording, of a call, or from another watchlist."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, parsers
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.serializers import validated
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.approvals.serializers import ApprovalAnswer
from voiceauth.screening import selectors, watchlists
from voiceauth.screening.apis import Watchlists
from voiceauth.screening.models import Fraudster
from voiceauth.screening.serializers import FraudsterAnswer, NewFraudster
from voiceauth.verification import fraudsters


@extend_schema(tags=["watchlists"], parameters=[OpenApiParameter("watchlist_id", UUID, OpenApiParameter.PATH)])
class FraudsterList(IdempotentCreate, generics.ListAPIView):
    """List the voices on a watchlist, the latest first. They have no names."""

    permission_classes = (Watchlists,)
    parser_classes = (parsers.MultiPartParser,)
    serializer_class = FraudsterAnswer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Fraudster]:
        """Select the rows of the list. Raises ``WatchlistNotFound``."""
        if getattr(self, "swagger_fake_view", False):
            return Fraudster.objects.none()
        return selectors.fraudsters(self.kwargs["watchlist_id"])

    @extend_schema(request={"multipart/form-data": NewFraudster}, responses={201: FraudsterAnswer, 202: ApprovalAnswer})
    def post(self, request: Request, watchlist_id: UUID) -> Response:
        """Put a voice on the watchlist: of a recording, of the call of a decision, or of a known fraudster.

        A customer's own voice answers 409 `customers_voice`. With a `reason` it answers 202 and an approval: once
        another person has approved it, repeat the request (with a new Idempotency-Key).
        """
        new = validated(NewFraudster, request.data)
        given = {"watchlist_id": watchlist_id, "actor": actor_of(request), **new}
        if "fraudster_id" in given:
            names = ("watchlist_id", "fraudster_id", "actor")
            return _answer(watchlists.list_fraudster(**{name: given[name] for name in names}))
        return _answer(fraudsters.add_caller(**given) if "decision_id" in given else fraudsters.add_recording(**given))

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the fraudster that the first request listed, or with the approval that it asked for."""
        rows: QuerySet[Any] = Approval.objects.all() if kind == "approval" else self.get_queryset()
        found = rows.filter(pk=identifier).first() if kind in ("approval", "fraudster") else None
        return _answer(found) if found else None


def _answer(found: Fraudster | Approval) -> Response:
    if isinstance(found, Approval):
        return Response(ApprovalAnswer(found).data, status=202)
    return Response(FraudsterAnswer(found).data, status=201)
