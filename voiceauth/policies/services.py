"""Changing the policy: a new version, never an edit."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.policies import document, selectors
from voiceauth.policies.errors import InvalidPolicy, PolicyChanged
from voiceauth.policies.models import PolicyVersion


@transaction.atomic
def change(*, content: Mapping[str, Any], reason: str, based_on: int, actor: Actor) -> PolicyVersion:
    """Puts ``content`` (see ``document``) into force in place of version ``based_on``.

    Raises ``InvalidPolicy``, and ``PolicyChanged`` where another version is in force by now.
    """
    valid = document.PolicyDocument(data=content)
    if not valid.is_valid():
        raise InvalidPolicy(fields=valid.errors)
    before = selectors.in_force()
    if before.number != based_on:
        raise PolicyChanged(number=before.number)
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
        after=selectors.in_force().as_dict(),
        data={"reason": reason},
    )
    return version
