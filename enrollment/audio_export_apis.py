"""A copy of a customer's recordings over HTTP: requested, approved by a second person, downloaded once."""

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import renderers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from enrollment import audio_exports
from enrollment.apis import CUSTOMER_ID
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer, validated
from voiceauth.platform.approvals.serializers import ApprovalAnswer, ApprovalReason
from voiceauth.platform.archives import Zip, download


@extend_schema(tags=["customers"], parameters=[CUSTOMER_ID], request=ApprovalReason, responses={202: ApprovalAnswer})
class AudioExports(APIView):
    """Requests for a copy of a customer's recordings."""

    permission_classes = (needs("audio:export"),)

    def post(self, request: Request, customer_id: str) -> Response:
        """Request a copy of the customer's enrollment recordings. A second person must approve it."""
        given = validated(ApprovalReason, request.data)
        approval = audio_exports.request_audio_export(customer_id=customer_id, **given, actor=actor_of(request))
        return Response(ApprovalAnswer(approval).data, status=202)


@extend_schema(
    tags=["customers"],
    parameters=[CUSTOMER_ID],
    request=None,
    responses={(200, Zip.media_type): OpenApiTypes.BINARY},
)
class AudioExportDownload(APIView):
    """The download of an approved copy."""

    permission_classes = (needs("audio:export"),)
    renderer_classes = (renderers.JSONRenderer, Zip)

    def post(self, request: Request, customer_id: str, approval_id: UUID) -> HttpResponse:
        """Download the approved copy as a ZIP file: once, by the client that requested it."""
        validated(StrictSerializer, request.data)
        archive = audio_exports.export_audio(customer_id=customer_id, approval_id=approval_id, actor=actor_of(request))
        return download(archive, approval_id)
