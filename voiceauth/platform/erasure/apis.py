"""Erasures over HTTP: whoever reads customers follows them until the receipt is there."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.erasure import selectors
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.erasure.serializers import ErasureAnswer


class ErasureFilter(StrictFilterSet):
    """By state, customer and cause."""

    class Meta:
        model = Erasure
        fields = ("state", "customer_id", "cause")


@extend_schema(tags=["erasures"])
class ErasureList(generics.ListAPIView):
    """Erasures, the latest first."""

    permission_classes = (needs("customers:read"),)
    serializer_class = ErasureAnswer
    filterset_class = ErasureFilter

    def get_queryset(self) -> QuerySet[Erasure]:
        """Select the rows of the list that the client may see."""
        if getattr(self, "swagger_fake_view", False):
            return Erasure.objects.none()
        return selectors.erasures(of_customers_only=_of_customers_only(self.request))


@extend_schema(tags=["erasures"], responses=ErasureAnswer)
class ErasureDetail(APIView):
    """One erasure."""

    permission_classes = (needs("customers:read"),)

    def get(self, request: Request, erasure_id: UUID) -> Response:
        """Follow one erasure: it carries its receipt once nothing of the voice is left."""
        found = selectors.erasure(erasure_id, of_customers_only=_of_customers_only(request))
        return Response(ErasureAnswer(found).data)


def _of_customers_only(request: Request) -> bool:
    """Nobody else than whoever may see watchlists learns that a voice was on one."""
    return not request.user.may("watchlists:read")
