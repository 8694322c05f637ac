"""Sign-ins, refused sign-ins and sign-outs go to the audit trail.

Django offers these moments as signals only; nothing is decided here.
"""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from voiceauth.platform.api.actor import role_of
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record


def _record(
    action: str, request: HttpRequest | None, name: str, role: str, outcome: str = "success", **data: Any
) -> None:
    actor = Actor(
        name=name,
        role=role,
        ip_address=getattr(request, "client_ip", ""),
        request_id=getattr(request, "request_id", ""),
    )
    with transaction.atomic():
        record(action=action, outcome=outcome, actor=actor, data=data)


@receiver(user_logged_in)
def signed_in(request: HttpRequest | None, user: Any, **_: Any) -> None:
    """Record a sign-in."""
    how = getattr(request, "signed_in_with", "password")
    _record("session.signed_in", request, f"user:{user.get_username()}"[:128], role_of(user), **{"with": how})


@receiver(user_logged_out)
def signed_out(request: HttpRequest | None, user: Any, **_: Any) -> None:
    """Record a sign-out."""
    if user is not None:
        _record("session.signed_out", request, f"user:{user.get_username()}"[:128], role_of(user))


@receiver(user_login_failed)
def sign_in_refused(
    credentials: dict[str, Any], request: HttpRequest | None = None, factor: str = "password", **_: Any
) -> None:
    """Record a refused sign-in, and whether the password or the second factor was wrong."""
    # What was typed may be a password in the wrong field, so only the names of known accounts are kept.
    from django.contrib.auth import get_user_model

    typed = str(credentials.get("username", ""))
    known = get_user_model().objects.filter(username=typed).exists() if "\x00" not in typed else False
    name = f"user:{typed}"[:128] if known else "anonymous"
    _record("session.sign_in_refused", request, name, "anonymous", outcome="refused", factor=factor)
