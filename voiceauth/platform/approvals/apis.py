"""Approvals over HTTP: administrators and, where an action says so, reviewers decide; auditors read."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer, validated
from voiceauth.platform.approvals import selectors, services
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.approvals.serializers import ApprovalAnswer


class ApprovalFilter(StrictFilterSet):
    """What a list of approvals can be narrowed to."""

    class Meta:
        model = Approval
        fields = ("state", "action", "requested_by")


@extend_schema(tags=["approvals"])
class ApprovalList(generics.ListAPIView):
    """List the requests that you made or may decide on, the latest first."""

    permission_classes = (needs("approvals:read"),)
    serializer_class = ApprovalAnswer
    filterset_class = ApprovalFilter

    def get_queryset(self) -> QuerySet[Approval]:
        """Select the rows of the list."""
        if getattr(self, "swagger_fake_view", False):
            return Approval.objects.none()
        return selectors.approvals(actor_of(self.request))


@extend_schema(tags=["approvals"], responses=ApprovalAnswer)
class ApprovalDetail(APIView):
    """One approval."""

    permission_classes = (needs("approvals:read"),)

    def get(self, request: Request, approval_id: UUID) -> Response:
        """Get one request, and what became of it."""
        return Response(ApprovalAnswer(selectors.approval(approval_id, actor_of(request))).data)


class _Decision(APIView):
    permission_classes = (needs("approvals:decide"),)
    service: Any

    @extend_schema(tags=["approvals"], request=None, responses={200: ApprovalAnswer})
    def post(self, request: Request, approval_id: UUID) -> Response:
        validated(StrictSerializer, request.data)
        approval = type(self).service(approval_id=approval_id, actor=actor_of(request))
        return Response(ApprovalAnswer(approval).data)


@extend_schema(
    summary="Approve a request as the second person. It is carried out, or the requester may now carry it out."
)
class Approve(_Decision):
    """The second person's approval."""

    service = staticmethod(services.approve)


@extend_schema(summary="Reject a request, or withdraw your own.")
class Reject(_Decision):
    """The second person's rejection, or the withdrawal of one's own request."""

    service = staticmethod(services.reject)
