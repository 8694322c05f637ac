"""Writing to the audit trail. Call ``record`` in the transaction that makes the change it tells of."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from voiceauth.platform import stages
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.actor import Actor
from voiceauth.platform.audit.models import AuditEvent, ChainHead

# Called with each event of the request at hand, in the transaction that writes the event. What it raises rolls the
# change back. ``platform.api.idempotency`` commits the request's key with it.
in_transaction: ContextVar[Callable[[AuditEvent], None] | None] = ContextVar("in_transaction", default=None)

# Called with each event of any process in the same way. ``platform.webhooks`` follows the trail here.
followers: list[Callable[[AuditEvent], None]] = []

_FIELDS = AuditEvent._meta.concrete_fields
_APPEND = (
    f"WITH appended AS (INSERT INTO {AuditEvent._meta.db_table} ({', '.join(each.attname for each in _FIELDS)})"  # noqa: S608
    f" VALUES ({', '.join(['%s'] * len(_FIELDS))}))"
    f" UPDATE {ChainHead._meta.db_table} SET sequence = %s, hash = %s, seal = %s WHERE id = %s"
)


class TrailBroken(Exception):
    """The head of the trail was forged or removed. Nothing is appended: that would hide it."""


@stages.timed("audit")
def record(
    *,
    action: str,
    actor: Actor,
    outcome: str = AuditEvent.Outcome.SUCCESS,
    customer_id: str = "",
    target: str = "",
    model_version: str = "",
    threshold: float | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append one event. Where it fails, the surrounding change fails with it.

    Holds the lock on the trail's head until the transaction ends, so record late and commit soon.
    Raises ``TransactionManagementError`` outside a transaction, ``ValueError`` for NaN and infinity,
    ``TypeError`` for what JSON cannot hold, ``TrailBroken`` where the head was tampered with.
    """
    event = AuditEvent(
        occurred_at=timezone.now(),
        action=action,
        outcome=outcome,
        actor=actor.name,
        role=actor.role,
        ip_address=actor.ip_address,
        request_id=actor.request_id,
        customer_id=chain.clean(customer_id),
        target=chain.clean(target),
        model_version=model_version,
        threshold=chain.normalise(threshold),
        before=chain.normalise(before),
        after=chain.normalise(after),
        data=chain.normalise(data or {}),
    )
    head = _locked_head()
    event.sequence, event.previous_hash = head.sequence + 1, head.hash
    event.hash = chain.event_hash(event)
    _append(event)
    if (accompany := in_transaction.get()) is not None:
        accompany(event)
    for follow in followers:
        follow(event)
    return event


def _append(event: AuditEvent) -> None:
    """Write the event and the head that ends with it, in one statement: other writers wait for this."""
    values = [field.get_db_prep_save(getattr(event, field.attname), connection) for field in _FIELDS]
    seal = chain.head_seal(event.sequence, event.hash)
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, [*values, event.sequence, event.hash, seal, chain.HEAD_ID])
    event._state.adding, event._state.db = False, connection.alias


def _locked_head() -> ChainHead:
    head = ChainHead.objects.select_for_update().filter(id=chain.HEAD_ID).first()
    if head is None:  # the first event ever; of two first writers, one waits here for the other
        genesis = ChainHead(
            id=chain.HEAD_ID, sequence=0, hash=chain.GENESIS_HASH, seal=chain.head_seal(0, chain.GENESIS_HASH)
        )
        ChainHead.objects.bulk_create([genesis], ignore_conflicts=True)
        head = ChainHead.objects.select_for_update().get(id=chain.HEAD_ID)
        if head.sequence == 0 and AuditEvent.objects.exists():
            transaction.set_rollback(True)
            raise TrailBroken("the head of the audit trail is missing")
    if not chain.seal_is_valid(head):
        raise TrailBroken("the head of the audit trail was forged")
    return head
