"""A small API on the edge alone, so that its tests need no domain. Used with ``pytest.mark.urls``."""

from collections.abc import Callable
from typing import ClassVar

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError, transaction
from django.http import Http404
from django.urls import path
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.clients import create_client
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer
from voiceauth.platform.api.uploads import AudioField
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import Conflict, ScoringUnavailable
from voiceauth.urls import handler400, handler403, handler404, handler500
from voiceauth.urls import urlpatterns as real_urls

__all__ = ["handler400", "handler403", "handler404", "handler500"]


class TellerView(APIView):
    permission_classes = (needs("customers:write"),)


class NoteInput(StrictSerializer):
    text = serializers.CharField(max_length=10)
    number = serializers.IntegerField(required=False)


class Notes(TellerView):
    def get(self, request: Request, customer_id: str = "") -> Response:
        return Response({"customer_id": customer_id})

    def post(self, request: Request) -> Response:
        given = NoteInput(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(given.validated_data, status=201)


class UploadInput(StrictSerializer):
    audio = AudioField()


class Uploads(TellerView):
    parser_classes = (MultiPartParser,)

    def post(self, request: Request) -> Response:
        given = UploadInput(data=request.data)
        given.is_valid(raise_exception=True)
        return Response({"bytes": len(given.validated_data["audio"])})


FAILURES: dict[str, Exception] = {
    "conflict": Conflict(state="ENROLLED"),
    "scoring": ScoringUnavailable(retry_after_seconds=1.2),
    "operational": OperationalError("server closed the connection; password=hunter2"),
    "interface": InterfaceError("the connection is closed"),
    "bug": KeyError("hunter2"),
    "http404": Http404(),
    "forbidden": PermissionDenied(),
    "suspicious": SuspiciousOperation("hunter2"),
}


class Failing(TellerView):
    def get(self, request: Request, name: str, customer_id: str = "") -> Response:
        raise FAILURES[name]

    post = get


class NobodySaidWho(APIView):
    def get(self, request: Request) -> Response:
        return Response({})


class ClientInput(StrictSerializer):
    name = serializers.CharField()
    fail = serializers.BooleanField(default=False)


class Clients(IdempotentCreate, TellerView):
    """Creates something, with its event; ``before`` is called between the reservation of the key and the creation."""

    before: ClassVar[Callable[[], object]] = staticmethod(lambda: None)

    def post(self, request: Request) -> Response:
        given = ClientInput(data=request.data)
        given.is_valid(raise_exception=True)
        type(self).before()
        with transaction.atomic():
            client, _ = create_client(name=given.validated_data["name"], role="ivr", actor=actor_of(request))
            if given.validated_data["fail"]:
                raise Conflict()
        return Response({"id": str(client.id), "number": 0.1}, status=201)


class RecallingClients(Clients):
    """The same, and it can answer once more from what it created."""

    def recall(self, kind: str, identifier: str) -> Response | None:
        return Response({"id": identifier, "number": 0.1}, status=201) if kind == "client" else None


class IdempotentUploads(IdempotentCreate, Uploads):
    pass


class Changes(TellerView):
    """A change whose event cannot be written."""

    def post(self, request: Request) -> Response:
        with transaction.atomic():
            create_client(name="changed", role="ivr", actor=actor_of(request))
            record(action="change.made", actor=actor_of(request), data={"score": float("nan")})
        return Response({})


urlpatterns = [
    path("api/v1/notes", Notes.as_view()),
    path("api/v1/notes/<str:customer_id>", Notes.as_view()),
    path("api/v1/uploads", Uploads.as_view()),
    path("api/v1/failing/<str:name>", Failing.as_view()),
    path("api/v1/failing/<str:name>/<str:customer_id>", Failing.as_view()),
    path("api/v1/closed", NobodySaidWho.as_view()),
    path("api/v1/clients", Clients.as_view()),
    path("api/v1/recalling-clients", RecallingClients.as_view()),
    path("api/v1/idempotent-uploads", IdempotentUploads.as_view()),
    path("api/v1/changes", Changes.as_view()),
    *real_urls,
]
