"""The fraudsters of a watchlist over HTTP: from a recording, a call, or another watchlist."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, parsers
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.screening import selectors, watchlists
from voiceauth.screening.apis import Watchlists
from voiceauth.screening.models import Fraudster
from voiceauth.screening.serializers import FraudsterAnswer, NewFraudster
from voiceauth.verification import fraudsters


@extend_schema(tags=["watchlists"], parameters=[OpenApiParameter("watchlist_id", UUID, OpenApiParameter.PATH)])
class FraudsterList(IdempotentCreate, generics.ListAPIView):
    """Who is on a watchlist, the latest first. Fraudsters have no names here."""

    permission_classes = (Watchlists,)
    parser_classes = (parsers.MultiPartParser,)
    serializer_class = FraudsterAnswer
    filter_backends = ()

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Fraudster.objects.none()
        return selectors.fraudsters(self.kwargs["watchlist_id"])

    @extend_schema(request={"multipart/form-data": NewFraudster}, responses={201: FraudsterAnswer})
    def post(self, request: Request, watchlist_id: UUID) -> Response:
        """Puts a voice on the watchlist: from a recording, from the call of a decision, or a known fraudster's."""
        new = NewFraudster(data=request.data)
        new.is_valid(raise_exception=True)
        given = {"watchlist_id": watchlist_id, "actor": actor_of(request), **new.validated_data}
        if "fraudster_id" in given:
            names = ("watchlist_id", "fraudster_id", "actor")
            fraudster = watchlists.list_fraudster(**{name: given[name] for name in names})
        elif "decision_id" in given:
            fraudster = fraudsters.add_caller(**given)
        else:
            fraudster = watchlists.add_fraudster(**given)
        return Response(FraudsterAnswer(fraudster).data, status=201)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the fraudster that the first request listed."""
        found = self.get_queryset().filter(pk=identifier).first() if kind == "fraudster" else None
        return Response(FraudsterAnswer(found).data, status=201) if found else None
