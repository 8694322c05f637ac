"""``Idempotency-Key``: a repeated POST gets the first answer again, and nothing is created twice.

The header follows draft-ietf-httpapi-idempotency-key-header. A request goes through three short transactions, so that
none is open while a worker scores:

1. ``reserve`` inserts a row for the key. A repeat that meets it gets 409 ``idempotency_key_in_use``.
2. The service commits its change. The audit event in that transaction also marks the row as carried out, but only
   while the row still belongs to this attempt. An attempt that lost its reservation rolls back.
3. ``_settle`` stores the answer; after a refusal it deletes the row, and the key is free again.

Only the second waits for the disk. A crash of PostgreSQL may take back the other two: without its row, an attempt that
goes on commits nothing (2), and without the answer, a repeat gets what was committed.

After a crash between 1 and 2 the reservation expires and a repeat runs anew. After a crash between 2 and 3 a repeat
gets what the first attempt committed (``recall``), and never a second decision.
"""

import hashlib
import json
import logging
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform import stages, vault
from voiceauth.platform.api import throttling
from voiceauth.platform.api.models import IdempotentRequest
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import in_transaction
from voiceauth.platform.errors import Conflict, DomainError

logger = logging.getLogger(__name__)

KEEP = timedelta(hours=24)
RESERVED_FOR = timedelta(seconds=90)  # longer than the longest deadline of a request (60 s)
# Each is a transaction of its own, which does not wait for the disk.
_RESERVE = """
INSERT INTO api_idempotentrequest (client_id, key, request_hash, attempt, reserved_until, created_at, status, body)
SELECT %s, %s, %s, %s, %s, %s, 0, '' FROM (SELECT set_config('synchronous_commit', 'off', true)) AS without_the_disk
ON CONFLICT DO NOTHING RETURNING id
"""
_SETTLE = """
UPDATE api_idempotentrequest SET status = %s, body = %s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS without_the_disk WHERE id = %s AND attempt = %s
"""
KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"


class InvalidIdempotencyKey(DomainError):
    """The header does not match ``KEY_PATTERN``."""

    code = "invalid_idempotency_key"
    message = "An Idempotency-Key is 1 to 255 printable ASCII characters without spaces."


class IdempotencyKeyReused(DomainError):
    """A key stands for one method, path and content."""

    code = "idempotency_key_reused"
    status = 422
    message = "This Idempotency-Key was used for a different request. Use a new key for new content."


class IdempotencyKeyInUse(Conflict):
    """Carries ``retry_after_seconds``."""

    code = "idempotency_key_in_use"
    message = "The first request with this Idempotency-Key is still running. Repeat the request later."


class AnswerLost(Conflict):
    """Carries ``result``: what the first request made or changed, for example ``customer:<id>``."""

    code = "answer_lost"
    message = "The first request with this Idempotency-Key was carried out, but its answer was lost. Look up `result`."


class _Repeat(Exception):
    """The request was answered before: ``stored`` has the answer."""

    def __init__(self, stored: IdempotentRequest) -> None:
        self.stored = stored


class _Recall(Exception):
    """The request was carried out, but nobody stored the answer."""

    def __init__(self, stored: IdempotentRequest) -> None:
        self.stored = stored


class IdempotentCreate:
    """A mixin before ``APIView``: makes ``post`` repeatable. Without the header nothing changes."""

    _reservation: IdempotentRequest | None = None

    def reserved_for(self) -> timedelta:
        """Return for how long an attempt has the key to itself: longer than it takes, as a rule.

        A process that is killed leaves its reservation behind, and repeats are refused until that expires. An attempt
        that takes longer loses the key to a repeat, and its change is rolled back: nothing is carried out twice.
        """
        return RESERVED_FOR

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer from what the first request committed; ``None`` where this view cannot (409 ``answer_lost``).

        ``kind`` and ``identifier`` are the target of its audit event: ``decision`` and the decision's id, for example.
        """
        return None

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the view with the key's reservation at hand, and settle the reservation by its answer."""
        within = in_transaction.set(self._carry_out)
        try:
            response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            if self._reservation is not None:
                _settle(self._reservation, response)
        finally:
            in_transaction.reset(within)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Reserve the key once the client is known and allowed to make this call."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        if request.method == "POST" and (key := request.headers.get("Idempotency-Key")) is not None:
            self._reservation = reserve(request, key, self.reserved_for())

    def handle_exception(self, error: Exception) -> Response:
        """Answer a repeat from what is stored."""
        match error:
            case _Repeat(stored=stored):
                throttling.give_back(self.request)  # type: ignore[attr-defined]
                data = json.loads(_unseal(stored)) if stored.status != 204 else None
                return Response(data, status=stored.status, headers={"Idempotent-Replayed": "true"})
            case _Recall(stored=stored):
                kind, _, identifier = (stored.result or "").partition(":")
                if (answer := self.recall(kind, identifier)) is not None:
                    answer.headers["Idempotent-Replayed"] = "true"
                    return answer
                error = AnswerLost(result=stored.result)
        return super().handle_exception(error)  # type: ignore[misc]

    def _carry_out(self, event: AuditEvent) -> None:
        """Commit the key with the change that ``event`` tells of. Raises ``IdempotencyKeyInUse``.

        It raises where this attempt took so long that its reservation expired and another attempt has taken over.
        """
        if self._reservation is not None and not _mine(self._reservation).update(result=event.target):
            raise IdempotencyKeyInUse(retry_after_seconds=1)


def purge_answers() -> int:
    """Delete the answers that are older than a day. Return how many there were."""
    count, _ = IdempotentRequest.objects.filter(created_at__lt=timezone.now() - KEEP).delete()
    return count


@stages.timed("idempotency")
def reserve(request: Request, key: str, reserved_for: timedelta) -> IdempotentRequest:
    """Reserve the caller's ``key`` for this attempt, for so long, in a transaction of its own.

    Raises ``InvalidIdempotencyKey``, ``IdempotencyKeyReused`` and ``IdempotencyKeyInUse``; ``_Repeat`` and ``_Recall``
    where the first request is done.
    """
    if not re.fullmatch(KEY_PATTERN, key):
        raise InvalidIdempotencyKey()
    content, now = request_hash(request), timezone.now()
    until = now + reserved_for
    wanted = IdempotentRequest(client=request.user, key=key, request_hash=content, reserved_until=until, created_at=now)
    if _inserted(wanted):
        return wanted
    stored = IdempotentRequest.objects.filter(client=request.user, key=key).first()
    if stored is None:  # the attempt before us was refused this moment, and freed the key
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    if stored.request_hash != content:
        raise IdempotencyKeyReused()
    if stored.status:
        raise _Repeat(stored)
    if stored.result is not None:
        raise _Recall(stored)
    expired = _mine(stored).filter(result=None, reserved_until__lte=timezone.now())
    stored.attempt, stored.reserved_until = uuid4(), until
    if not expired.update(attempt=stored.attempt, reserved_until=until):
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    return stored


def _inserted(wanted: IdempotentRequest) -> bool:
    """Insert the row unless there is one for its key: in one statement, where Django's own way takes four."""
    with connection.cursor() as cursor:
        cursor.execute(
            _RESERVE,
            [
                wanted.client_id, wanted.key, wanted.request_hash, wanted.attempt, wanted.reserved_until,
                wanted.created_at,
            ],
        )  # fmt: skip
        wanted.pk = (cursor.fetchone() or [None])[0]
    return wanted.pk is not None


@stages.timed("idempotency")
def _settle(reservation: IdempotentRequest, response: Response) -> None:
    """Store the answer of a success. Free the key after a refusal, unless something was committed before it."""
    try:
        if 200 <= response.status_code < 300:
            response.render()
            body = _seal(reservation, response.content)
            with connection.cursor() as cursor:
                cursor.execute(
                    _SETTLE,
                    [response.status_code, body, reservation.pk, reservation.attempt],
                )
        else:
            _mine(reservation).filter(result=None).delete()
    except DatabaseError as error:  # the caller gets this answer; a repeat gets ``recall``, or waits for the expiry
        logger.error("an answer could not be stored under its idempotency key: %s", type(error).__name__)


def _mine(reservation: IdempotentRequest) -> QuerySet[IdempotentRequest]:
    """Select the row, as long as it belongs to this attempt."""
    return IdempotentRequest.objects.filter(pk=reservation.pk, attempt=reservation.attempt)


def request_hash(request: Request) -> str:
    """SHA-256 over the method, the path and the content: field values and the bytes of files."""
    if hasattr(request.data, "lists"):  # multipart
        content: Any = sorted((name, [_value(item) for item in items]) for name, items in request.data.lists())
    else:
        content = request.data
    text = json.dumps([request.method, request.get_full_path(), content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _value(item: str | UploadedFile) -> Any:
    if isinstance(item, str):
        return item
    digest = hashlib.sha256()
    for chunk in item.chunks():
        digest.update(chunk)
    item.seek(0)
    return {"sha256": digest.hexdigest()}


def _context(stored: IdempotentRequest) -> str:
    return f"answer:{stored.client_id}:{stored.key}"


def _seal(stored: IdempotentRequest, body: bytes) -> bytes:
    return vault.seal(vault.derived_key("idempotent-answers"), body, _context(stored))


def _unseal(stored: IdempotentRequest) -> bytes:
    return vault.unseal(vault.derived_key("idempotent-answers"), bytes(stored.body), _context(stored))
