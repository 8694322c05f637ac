"""One error shape for whatever goes wrong: ``{"error": {"code", "message", "data", "request_id"}}``."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions as drf
from rest_framework.response import Response

from voiceauth.platform import metrics
from voiceauth.platform.api.paths import API_PATHS
from voiceauth.platform.api.uploads import UploadTooLarge
from voiceauth.platform.errors import DatabaseUnavailable, DomainError

logger = logging.getLogger(__name__)

DATABASE_IS_AWAY = (OperationalError, InterfaceError)  # or it is a standby that only reads: ``platform.postgresql``
DATABASE_RETRY_SECONDS = 2


class InternalError(DomainError):
    """A bug. The answer reveals nothing; the log has the traceback."""

    code = "internal_error"
    status = 500
    message = "Something went wrong on our side. Quote the request_id to support."


class MalformedRequest(DomainError):
    """The body, the path or the headers cannot be parsed."""

    code = "malformed_request"
    message = "The request cannot be read."


class WrongMediaType(DomainError):
    """Carries ``accepted``, the media types that the call takes."""

    code = "unsupported_media_type"
    status = 415
    message = "The body is {given}, which this call does not take. Send {listed}."


@dataclass(frozen=True)
class Failure:
    """What the caller is told."""

    code: str
    status: int
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, request: Any) -> dict[str, Any]:
        """Return the error envelope that the API answers with."""
        request_id = getattr(request, "request_id", "")
        content = {"code": self.code, "message": self.message, "data": self.data, "request_id": request_id}
        return {"error": content}


# DRF's own exceptions, and the code of each.
DRF_CODES: dict[type[drf.APIException], str] = {
    drf.NotAuthenticated: "not_authenticated",
    drf.AuthenticationFailed: "invalid_token",
    drf.PermissionDenied: "permission_denied",
    drf.NotFound: "not_found",
    drf.MethodNotAllowed: "method_not_allowed",
    drf.NotAcceptable: "not_acceptable",
    drf.UnsupportedMediaType: "unsupported_media_type",
    drf.ParseError: MalformedRequest.code,
    drf.Throttled: "throttled",
}


def describe(error: BaseException) -> Failure:
    """Return what the caller is told about ``error``. An unexpected error reveals nothing."""
    match error:
        case DomainError():
            pass
        case drf.ValidationError():
            fields = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
            return Failure("validation_error", 400, "The request is not valid.", {"fields": fields})
        case drf.APIException() if type(error) in DRF_CODES:
            headers = {"WWW-Authenticate": error.auth_header} if getattr(error, "auth_header", None) else {}
            data = {} if (wait := getattr(error, "wait", None)) is None else {"retry_after_seconds": wait}
            return Failure(DRF_CODES[type(error)], error.status_code, str(error.detail), data, headers)
        case PermissionDenied():
            return Failure("permission_denied", 403, "This is not allowed.")
        case Http404():
            return Failure("not_found", 404, "There is no such object.")
        case _ if isinstance(error, DATABASE_IS_AWAY):
            error = DatabaseUnavailable(retry_after_seconds=DATABASE_RETRY_SECONDS)
        case RequestDataTooBig():
            error = UploadTooLarge()
        case SuspiciousOperation() | BadRequest() | MultiPartParserError() | UnreadablePostError():
            error = MalformedRequest()
        case _:
            error = InternalError()
    headers = {}
    if (seconds := error.data.get("retry_after_seconds")) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return Failure(error.code, error.status, error.detail, error.data, headers)


def note(error: BaseException, request: Any, *, customer_id: str = "") -> Failure:
    """Describe ``error``, log what is our fault, and leave the refusal for the middleware to record.

    The middleware records it once every transaction of the request is rolled back.
    """
    failure = describe(error)
    if failure.code == InternalError.code:
        logger.error("unexpected failure", exc_info=error)
    elif failure.code == DatabaseUnavailable.code:
        logger.error("the database does not answer: %s", type(error).__name__)
        connection.close()
    if getattr(error, "audited", True):
        request.refusal = (failure, customer_id)
    else:
        metrics.REFUSALS.labels(failure.code).inc()
    return failure


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler."""
    if isinstance(error, drf.UnsupportedMediaType):
        accepted = [parser.media_type for parser in context["view"].parser_classes]
        given = context["request"].content_type or "of no type"
        error = WrongMediaType(given=given, listed=" or ".join(accepted), accepted=accepted)
    customer_id = context.get("kwargs", {}).get("customer_id", "")
    if not customer_id and isinstance(error, DomainError):
        customer_id = str(error.data.get("customer_id", ""))
    request = context["request"]._request
    failure = note(error, request, customer_id=customer_id)
    return Response(failure.body(request), status=failure.status, headers=failure.headers)


def answer(error: BaseException, request: HttpRequest) -> JsonResponse:
    """Answer ``error`` outside of DRF, in the same shape."""
    failure = note(error, request)
    return JsonResponse(failure.body(request), status=failure.status, headers=failure.headers)


def explain(error: BaseException, request: HttpRequest) -> HttpResponseBase:
    """Answer with a page for people, which needs nothing of the database."""
    failure = note(error, request)
    page = render_to_string("failure.html", {"message": failure.message})
    return HttpResponse(page, status=failure.status, headers=failure.headers)


# Django's own handlers (``voiceauth.urls``): JSON for programs, Django's pages for people.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 400."""
    return answer(exception, request) if _is_api(request) else defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 403."""
    return answer(exception, request) if _is_api(request) else defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404."""
    return answer(exception, request) if _is_api(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500."""
    return answer(InternalError(), request) if _is_api(request) else defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(API_PATHS)
