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


class ReadOnlyDatabase(Exception):
    """The database answers but takes no writes, like a standby."""


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        if cursor.fetchone() != ("off",):
            raise ReadOnlyDatabase


def _queue() -> None:
    shared_connection(TIMEOUT_SECONDS).ping()


_scoring: Callable[[], None]


def register_scoring(ping: Callable[[], None]) -> None:
    """Have ``ping`` called to find out whether a scoring worker answers; it raises where none does."""
    global _scoring
    _scoring = ping


def _state(name: str, part: Callable[[], None]) -> str:
    try:
        part()
    except Exception as error:
        logger.warning("not ready: %s: %s", name, type(error).__name__)
        if name == "database":
            connection.close()
        return "read_only" if isinstance(error, ReadOnlyDatabase) else "unavailable"
    return "ok"


class LiveSerializer(serializers.Serializer):
    """The process answers."""

    status = serializers.ChoiceField(choices=["ok"], help_text="Always ok: the process answers.")
    version = serializers.CharField(help_text="The version of the service.")


class ReadySerializer(serializers.Serializer):
    """Which parts of the service answer."""

    ready = serializers.BooleanField()
    database = serializers.ChoiceField(
        choices=["ok", "read_only", "unavailable"], help_text="read_only: it answers, but takes no writes (a standby)."
    )
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
        parts = {"database": _state("database", _database), "queue": _state("queue", _queue)}
        parts["scoring"] = _state("scoring", _scoring) if parts["queue"] == "ok" else "unavailable"
        ready = set(parts.values()) == {"ok"}
        return Response({"ready": ready, **parts}, status=200 if ready else 503)
