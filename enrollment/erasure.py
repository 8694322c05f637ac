"""Erasing a customer's voice: its rows at once, in one transaction, and its files by a job that follows.

The customer is unusable from the commit on: their key is destroyed or replaced, so what still lies in a storage or a
backup cannot be read. ``platform.erasure`` deletes the files and writes the receipt once nothing is left.

A room above that keeps something of a customer registers how it forgets it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from enrollment import lifecycle
from enrollment.models import Customer
from voiceauth.platform import storage
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure import services as erasures
from voiceauth.platform.erasure.models import Erasure
from voiceauth.screening.services import forget_voice

Forget = Callable[[Customer], dict[str, int]]  # deletes what a room keeps; counts by name, like call_recordings

CUSTOMER_ERASED = "customer.erased"
NO_VOICE: dict[str, Any] = {
    "speech_seconds": 0,
    "enrolled_at": None,
    "last_accessed_at": None,
    "refusals": 0,
    "refused_at": None,
}

_rooms: dict[str, Forget] = {}


def register(room: str, forget: Forget) -> None:
    """Have ``forget`` called, in the erasing transaction, for every customer whose voice is erased."""
    _rooms[room] = forget


def erase_voice(
    customer: Customer,
    *,
    cause: str,
    to: Customer.State,
    actor: Actor,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Erasure:
    """Delete every row of the customer's voice, here and in the rooms above; move the customer to the state ``to``.

    ``customer`` is locked by the caller. ``changes`` are written to the customer's other fields: a new data key, or
    none. ``cause`` names the event in the audit trail, and ``data`` goes into it.
    """
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    with storage.collecting() as recordings:
        counts = _forget(customer)
    lifecycle.move(customer, to, **NO_VOICE, **changes)
    erasure = erasures.begin(
        cause=cause,
        subject=customer.pk,
        customer_id=customer.customer_id,
        recordings=recordings,
        counts=counts,
        actor=actor,
    )
    record(
        action=cause,
        actor=actor,
        customer_id=customer.customer_id,
        target=erasure.audit_target(),
        before=before,
        after={"state": customer.state},
        data={**counts, **(data or {})},
    )
    return erasure


def _forget(customer: Customer) -> dict[str, int]:
    """Delete the rows. The consents stay: they show what was allowed, and when."""
    counts = {"samples": customer.samples.count(), "voiceprints": customer.voiceprints.count()}
    for forget in _rooms.values():
        counts |= forget(customer)
    for rows in (customer.confirmed_calls, customer.samples, customer.voiceprints, customer.heard):
        rows.all().delete()
    forget_voice(customer.customer_id)
    return counts
