"""Changing the policy: a new version, never an edit."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.policies import document, selectors
from voiceauth.policies.document import Policy
from voiceauth.policies.errors import InvalidPolicy, PolicyChanged, RateNotSupported
from voiceauth.policies.models import PolicyVersion


@transaction.atomic
def change(*, content: Mapping[str, Any], reason: str, based_on: int, actor: Actor) -> PolicyVersion:
    """Put ``content`` (see ``document``) into force in place of version ``based_on``.

    Raises ``InvalidPolicy``; ``PolicyChanged`` where another version is in force by now; ``RateNotSupported`` where a
    rate is new and the calibration in force cannot promise it. An old rate that it cannot promise refuses nothing,
    because the model may have changed since: ``selectors.unmet_rates`` tells of it.
    """
    valid = document.PolicyDocument(data=content)
    if not valid.is_valid():
        raise InvalidPolicy(fields=valid.errors)
    before = selectors.in_force()
    if before.number != based_on:
        raise PolicyChanged(number=before.number)
    after = document.read(valid.validated_data, based_on + 1)
    new = [each for each in selectors.unmet_rates(after) if _rate(before, each.tier) != each.target_far]
    if new:
        raise RateNotSupported(" ".join(map(str, new)), rates=[each.as_dict() for each in new])
    try:
        with transaction.atomic():
            version = PolicyVersion.objects.create(
                number=based_on + 1, content=valid.validated_data, reason=reason, created_by=actor.name
            )
    except IntegrityError as error:
        raise PolicyChanged from error
    record(
        action="policy.changed",
        actor=actor,
        target=f"policy:{version.number}",
        before=before.as_dict(),
        after=after.as_dict(),
        data={"reason": reason},
    )
    return version


def _rate(policy: Policy, tier: str) -> float | None:
    """Return the false-accept rate of a tier, the default one without a name; ``None`` for a tier that is missing."""
    if not tier:
        return policy.verification.target_far
    return policy.tiers[tier].target_far if tier in policy.tiers else None
