"""Velocity: one voice that claims to be many customers."""

from collections.abc import Sequence

from django.conf import settings

from mltraining.messages import Nearest
from voiceauth.screening.risk import VELOCITY, Hit

MAX_NAMED = 20


def hits(calls: Sequence[Nearest], customer_id: str | None) -> list[Hit]:
    """Return one hit where the voice claimed ``VOICEAUTH_VELOCITY_CUSTOMERS`` customers, ``customer_id`` among them.

    ``calls`` are those in the same voice, the likeliest first, named by whom they claimed. The score is the
    probability of the least likely call that it takes to reach the number.
    """
    likeliest: dict[str, Nearest] = {}
    for call in calls:
        if call.name != customer_id:
            likeliest.setdefault(call.name, call)
    needed = settings.VOICEAUTH_VELOCITY_CUSTOMERS - (customer_id is not None)
    if len(likeliest) < needed:
        return []
    others = list(likeliest.values())
    weakest = others[needed - 1]
    return [
        Hit(
            reason=VELOCITY,
            score=weakest.probability,
            log_likelihood_ratio=weakest.log_likelihood_ratio,
            count=len(others) + (customer_id is not None),
            customers=tuple(each.name for each in others[:MAX_NAMED]),
        )
    ]
