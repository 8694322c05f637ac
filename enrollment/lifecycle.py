"""The customer's states and every move between them.

::

    PENDING    known; no recording counts yet
    ENROLLING  has some net speech, but not enough
    ENROLLED   has enough net speech, and can be verified
    EXPIRED    was not used for too long: the voice is erased, the consent stands, and enrollment starts again
    LOCKED     refused too often in a row, or locked by a person: no call is scored until a person unlocks it
    OPTED_OUT  withdrew the consent: no voice is kept. The row also remembers people who never were customers
    ERASED     only the identifier is left; to callers there is no such customer

Every move goes through ``move``, a conditional update: of two concurrent moves, the second raises ``StateChanged``. A
customer who leaves ERASED is a new customer, created at that moment.
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
