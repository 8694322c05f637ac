"""Liveness and readiness: open to anyone, and they say nothing but which part answers."""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.redis import connection as shared_connection

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _queue() -> None:
    shared_connection(TIMEOUT_SECONDS).ping()


_scoring: Callable[[], None]


def register_scoring(ping: Callable[[], None]) -> None:
    """Have ``ping`` called to find out whether a scoring worker answers; it raises where none does."""
    global _scoring
    _scoring = ping


def _answers(name: str, part: Callable[[], None]) -> bool:
    try:
        part()
    except Exception as error:
        logger.warning("not ready: %s: %s", name, type(error).__name__)
        if name == "database":
            connection.close()
        return False
    return True


class LiveSerializer(serializers.Serializer):
    """The process answers."""

    status = serializers.ChoiceField(choices=["ok"], help_text="Always ok: the process answers.")
    version = serializers.CharField(help_text="The version of the service.")


class ReadySerializer(serializers.Serializer):
    """Which parts of the service answer."""

    ready = serializers.BooleanField()
    database = serializers.ChoiceField(choices=["ok", "unavailable"], help_text="Whether this part answers.")
    queue = serializers.ChoiceField(choices=["ok", "unavailable"], help_text="Whether this part answers.")
    scoring = serializers.ChoiceField(choices=["ok", "unavailable"], help_text="Whether this part answers.")


class OpenView(APIView):
    """A view that anybody may call."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


@extend_schema(tags=["health"], responses=LiveSerializer)
class Live(OpenView):
    """The process answers."""

    def get(self, request: Any) -> Response:
        """Answer, with the version."""
        return Response({"status": "ok", "version": settings.VERSION})


@extend_schema(
    tags=["health"],
    responses={200: ReadySerializer, 503: OpenApiResponse(ReadySerializer, description="Some part does not answer.")},
)
class Ready(OpenView):
    """Database, queue and a scoring worker answer."""

    def get(self, request: Any) -> Response:
        """Ask each part."""
        up = {"database": _answers("database", _database), "queue": _answers("queue", _queue)}
        up["scoring"] = up["queue"] and _answers("scoring", _scoring)
        ready = all(up.values())
        parts = {name: "ok" if answers else "unavailable" for name, answers in up.items()}
        return Response({"ready": ready, **parts}, status=200 if ready else 503)
