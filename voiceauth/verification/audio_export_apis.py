"""A copy of a call's recording over HTTP: requested, approved by a second person, downloaded once."""

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import renderers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer, validated
from voiceauth.platform.approvals.serializers import ApprovalAnswer, ApprovalReason
from voiceauth.platform.archives import Zip, download
from voiceauth.verification import audio_exports


@extend_schema(tags=["decisions"], request=ApprovalReason, responses={202: ApprovalAnswer})
class CallExports(APIView):
    """Requests for a copy of a call's recording."""

    permission_classes = (needs("audio:export"),)

    def post(self, request: Request, decision_id: UUID) -> Response:
        """Request a copy of the recording that the decision rested on. A second person must approve it."""
        given = validated(ApprovalReason, request.data)
        approval = audio_exports.request_call_export(decision_id=decision_id, **given, actor=actor_of(request))
        return Response(ApprovalAnswer(approval).data, status=202)


@extend_schema(tags=["decisions"], request=None, responses={(200, Zip.media_type): OpenApiTypes.BINARY})
class CallExportDownload(APIView):
    """The download of an approved copy."""

    permission_classes = (needs("audio:export"),)
    renderer_classes = (renderers.JSONRenderer, Zip)

    def post(self, request: Request, decision_id: UUID, approval_id: UUID) -> HttpResponse:
        """Download the approved copy as a ZIP file: once, by the client that requested it."""
        validated(StrictSerializer, request.data)
        archive = audio_exports.export_call(decision_id=decision_id, approval_id=approval_id, actor=actor_of(request))
        return download(archive, approval_id)
