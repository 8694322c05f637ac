"""The customer's states and every move between them.

::

    PENDING    known, no recording counts yet
    ENROLLING  some net speech, not yet enough
    ENROLLED   enough net speech: can be verified
    EXPIRED    unused for too long: the voice is erased, the consent stands; a new recording begins anew
    LOCKED     too many refusals in a row, or locked by a person: no call is scored until a person unlocks it
    OPTED_OUT  no consent: no voice is kept. Also of somebody who was never a customer: a tombstone
    ERASED     a tombstone without name, key, consent or voice; to callers there is no such customer

All moves go through ``move``, a conditional update: of two that race, one finds that the state has changed. Whoever
leaves ERASED is a new customer, created at that moment.
"""

from typing import Any

from django.utils import timezone

from enrollment.errors import StateChanged, TransitionRefused
from enrollment.models import Customer

State = Customer.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.PENDING: frozenset({State.ENROLLING, State.ENROLLED, State.LOCKED, State.OPTED_OUT, State.ERASED}),
    State.ENROLLING: frozenset(
        {State.PENDING, State.ENROLLED, State.EXPIRED, State.LOCKED, State.OPTED_OUT, State.ERASED}
    ),
    State.ENROLLED: frozenset(
        {State.PENDING, State.ENROLLING, State.EXPIRED, State.LOCKED, State.OPTED_OUT, State.ERASED}
    ),
    State.EXPIRED: frozenset({State.PENDING, State.ENROLLING, State.ENROLLED, State.OPTED_OUT, State.ERASED}),
    State.LOCKED: frozenset(
        {State.PENDING, State.ENROLLING, State.ENROLLED, State.EXPIRED, State.OPTED_OUT, State.ERASED}
    ),
    State.OPTED_OUT: frozenset({State.PENDING, State.ERASED}),
    State.ERASED: frozenset({State.PENDING, State.OPTED_OUT}),
}


def move(customer: Customer, to: str, **changes: Any) -> None:
    """Move ``customer`` to the state ``to``, and write ``changes`` to its other fields in the same statement.

    Staying in a state is always allowed. Raises ``TransitionRefused`` where the table has no such move, and
    ``StateChanged`` where the row has left the state of this object.
    """
    if to != customer.state and to not in TRANSITIONS[customer.state]:
        raise TransitionRefused(state=customer.state, to=str(to))
    if customer.state == State.ERASED != to:
        changes["created_at"] = timezone.now()
    moved = Customer.objects.filter(pk=customer.pk, state=customer.state).update(state=to, **changes)
    if not moved:
        raise StateChanged
    for name, value in {"state": to, **changes}.items():
        setattr(customer, name, value)
