"""``Idempotency-Key``: a repeated POST gets the first answer again, and nothing is created twice.

One transaction holds the record, the creation and the stored answer. A concurrent repeat waits on the
unique index until the first one is done. Only successes are kept; after a refusal the key is free again.
"""

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform import vault
from voiceauth.platform.api import throttling
from voiceauth.platform.api.models import IdempotentAnswer
from voiceauth.platform.errors import DomainError

KEEP = timedelta(hours=24)
KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"


class InvalidIdempotencyKey(DomainError):
    code = "invalid_idempotency_key"
    message = "An Idempotency-Key is 1 to 255 printable ASCII characters without spaces."


class IdempotencyKeyReused(DomainError):
    code = "idempotency_key_reused"
    status = 422
    message = "This Idempotency-Key was used for another request. Take a new key for new content."


class _Replay(Exception):
    def __init__(self, stored: IdempotentAnswer) -> None:
        self.stored = stored


class IdempotentCreate:
    """A mixin before ``APIView``: makes ``post`` repeatable. Without the header nothing changes."""

    _answer: IdempotentAnswer | None = None

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method != "POST" or "Idempotency-Key" not in request.headers:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            if not 200 <= response.status_code < 300:
                transaction.set_rollback(True)  # DRF has turned the exception into an answer
            elif self._answer is not None:
                response.render()
                self._answer.status = response.status_code
                self._answer.body = _seal(self._answer, response.content)
                self._answer.save(update_fields=["status", "body"])
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # the client is known and allowed from here on
        if request.method == "POST" and (key := request.headers.get("Idempotency-Key")) is not None:
            self._answer = _claim(request, key)

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, _Replay):
            throttling.give_back(self.request)  # type: ignore[attr-defined]
            data = json.loads(_unseal(error.stored)) if error.stored.status != 204 else None
            return Response(data, status=error.stored.status, headers={"Idempotent-Replayed": "true"})
        return super().handle_exception(error)  # type: ignore[misc]


def purge_answers() -> int:
    """Forget the answers older than a day; how many there were."""
    count, _ = IdempotentAnswer.objects.filter(created_at__lt=timezone.now() - KEEP).delete()
    return count


def _claim(request: Request, key: str) -> IdempotentAnswer:
    """A new record of the caller's key. Raises ``_Replay`` where the answer is already there."""
    if not re.fullmatch(KEY_PATTERN, key):
        raise InvalidIdempotencyKey()
    content = request_hash(request)
    try:
        with transaction.atomic():
            return IdempotentAnswer.objects.create(client=request.user, key=key, request_hash=content)
    except IntegrityError:
        stored = IdempotentAnswer.objects.get(client=request.user, key=key)
    if stored.request_hash != content:
        raise IdempotencyKeyReused()
    raise _Replay(stored)


def request_hash(request: Request) -> str:
    """SHA-256 over the method, the path and the content: field values and the bytes of files."""
    if hasattr(request.data, "lists"):  # multipart
        content: Any = sorted((name, [_value(item) for item in items]) for name, items in request.data.lists())
    else:
        content = request.data
    text = json.dumps([request.method, request.get_full_path(), content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _value(item: Any) -> Any:
    if isinstance(item, str):
        return item
    digest = hashlib.sha256()
    for chunk in item.chunks():
        digest.update(chunk)
    item.seek(0)
    return {"sha256": digest.hexdigest()}


def _context(stored: IdempotentAnswer) -> str:
    return f"answer:{stored.client_id}:{stored.key}"


def _seal(stored: IdempotentAnswer, body: bytes) -> bytes:
    return vault.seal(vault.derived_key("idempotent-answers"), body, _context(stored))


def _unseal(stored: IdempotentAnswer) -> bytes:
    return vault.unseal(vault.derived_key("idempotent-answers"), bytes(stored.body), _context(stored))
