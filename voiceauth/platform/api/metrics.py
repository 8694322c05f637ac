"""``GET /api/v1/metrics`` for Prometheus, which sends a token as any client does."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from voiceauth.platform import metrics
from voiceauth.platform.api.permissions import needs


@extend_schema(tags=["health"])
class Metrics(APIView):
    """The metrics of this machine's web processes, and of what stands in the database and the queue."""

    permission_classes = (needs("metrics:read"),)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Take whatever Prometheus accepts: the format is one that every version reads."""
        return JSONRenderer(), JSONRenderer.media_type  # of an error

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """Show the metrics, in Prometheus's text format."""
        return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
