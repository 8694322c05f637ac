"""Batch enrollments over HTTP, for tellers."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import generics, parsers, renderers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from enrollment.batches import selectors, services
from enrollment.batches.models import BatchEnrollment
from enrollment.batches.serializers import BatchAnswer, BatchFromLocation, BatchFromUpload
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated

Batches = needs("batches:write", reads="batches:read")


class JsonLines(renderers.JSONRenderer):
    """Lets a client ask for JSON lines by ``Accept``."""

    media_type = "application/x-ndjson"
    format = "jsonl"


class BatchFilter(StrictFilterSet):
    """Narrow a list of batch enrollments by state."""

    class Meta:
        model = BatchEnrollment
        fields = ("state",)


@extend_schema_view(get=extend_schema(tags=["batch enrollment"], operation_id="batch_enrollments_list"))
class BatchList(IdempotentCreate, generics.ListAPIView):
    """Batch enrollments, the newest first."""

    permission_classes = (Batches,)
    parser_classes = (parsers.JSONParser, parsers.MultiPartParser)
    serializer_class = BatchAnswer
    filterset_class = BatchFilter

    def get_queryset(self) -> QuerySet[BatchEnrollment]:
        """Select the rows of the list."""
        return selectors.batches()

    @extend_schema(
        tags=["batch enrollment"],
        request={"application/json": BatchFromLocation, "multipart/form-data": BatchFromUpload},
        responses={202: BatchAnswer},
    )
    def post(self, request: Request) -> Response:
        """Enroll the customers of a manifest, as a job.

        A line of the manifest is a JSON object, or a row of a parquet file, with `customer_id`, `display_name`
        (optional), `audio` (a list of locations), `consent` (`purpose`, `text_version`, `origin`), `origin` (optional:
        where the recordings were made, by which the policy's limits for them are chosen), `channel` (optional: of
        recordings whose channels differ) and `format` (optional: of
        samples without a header). Locations are relative to the storage of batches.
        """
        uploads = (request.content_type or "").startswith("multipart/")
        data = validated(BatchFromUpload if uploads else BatchFromLocation, request.data)
        if uploads:
            data["manifest"] = data["manifest"].read()
        batch = services.submit(**data, actor=actor_of(request))
        return Response(BatchAnswer(batch).data, status=202)


@extend_schema(tags=["batch enrollment"], responses=BatchAnswer)
class BatchDetail(APIView):
    """One batch enrollment."""

    permission_classes = (Batches,)

    def get(self, request: Request, batch_id: UUID) -> Response:
        """Get one job: its state, its progress, and the number of customers by result."""
        return Response(BatchAnswer(selectors.batch(batch_id)).data)


@extend_schema(tags=["batch enrollment"], request=None, responses={202: BatchAnswer})
class BatchCancel(APIView):
    """The cancellation of a batch enrollment."""

    permission_classes = (needs("batches:cancel"),)

    def post(self, request: Request, batch_id: UUID) -> Response:
        """Cancel a job. A running one ends after the current customer. Customers who are enrolled stay enrolled."""
        batch = services.request_cancel(batch_id=batch_id, actor=actor_of(request))
        return Response(BatchAnswer(batch).data, status=202)


@extend_schema(
    tags=["batch enrollment"],
    responses={(200, JsonLines.media_type): OpenApiTypes.STR},
)
class BatchResults(APIView):
    """The results of a batch enrollment."""

    permission_classes = (Batches,)
    renderer_classes = (renderers.JSONRenderer, JsonLines)

    def get(self, request: Request, batch_id: UUID) -> StreamingHttpResponse:
        """Download the results so far as JSON lines, one for each customer, in the order of the manifest.

        Each has `line`, `customer_id`, `state` (ENROLLED, ENROLLING, SKIPPED, FAILED), the `code` and `message` of a
        problem, `accepted` (the number of recordings), `refused` (for each refused recording its `location`, `code` and
        `message`), `speech_seconds` (the customer's net speech afterwards) and `seconds` (the time that it took).
        """
        batch = selectors.batch(batch_id)
        headers = {"Content-Disposition": f'attachment; filename="{batch.id}.jsonl"'}
        lines = selectors.result_lines(batch)
        return StreamingHttpResponse(lines, content_type=JsonLines.media_type, headers=headers)
