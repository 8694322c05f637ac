"""A sign-in in two steps. Nobody is signed in before the last step: until then the session only says who began.

A session remembers the second factor that it was begun with. Where that was replaced or reset since, or where the
policy now requires one that the person lacks, the session counts no more.
"""

import hmac
import time
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpRequest

from voiceauth.platform.api.actor import role_of
from voiceauth.review.sign_in import services

PENDING = "sign_in"  # in the session: who gave the right password
FACTOR = "second_factor"  # in the session: the second factor of this sign-in
PROVIDER = "identity provider"  # in its place: the provider asked for whatever factors it wants
PENDING_SECONDS = 600


def may_enter(user: Any) -> bool:
    """Return whether the person may use the dashboard: a role is enough."""
    return user.is_active and (user.is_staff or role_of(user) != "none")


def is_complete(request: HttpRequest) -> bool:
    """Return whether the session's sign-in had the second factor that it needs now. Asked once a request."""
    known: bool | None = getattr(request, "sign_in_is_complete", None)
    if known is None:
        factor = services.factor_of(request.user)  # type: ignore[arg-type]
        begun_with = request.session.get(FACTOR)
        if begun_with == PROVIDER or not settings.VOICEAUTH_LOCAL_PASSWORDS:
            known = begun_with == PROVIDER and bool(settings.VOICEAUTH_OIDC_ISSUER)
        elif factor is None:
            known = begun_with is None and not services.is_required_of(request.user)  # type: ignore[arg-type]
        else:
            known = begun_with == str(factor.pk)
        request.sign_in_is_complete = known  # type: ignore[attr-defined]
    return known


def begin(request: HttpRequest, user: User, next_page: str) -> bool:
    """Sign the person in who gave the right password, and return true; or remember them where a step is missing."""
    if services.factor_of(user) is None and not services.is_required_of(user):
        login(request, user)
        return True
    if request.user.is_authenticated:
        logout(request)
    request.session.cycle_key()
    request.session[PENDING] = {
        "user": user.pk,
        "backend": user.backend,
        "password": _mark_of(user),
        "begun_at": time.time(),
        "next": next_page,
    }
    return False


def pending(request: HttpRequest) -> User | None:
    """Return who gave the right password and has a step to go, or ``None``."""
    begun: dict[str, Any] | None = request.session.get(PENDING)
    if begun is None or not 0 <= time.time() - begun["begun_at"] <= PENDING_SECONDS:
        return None
    user = User.objects.filter(pk=begun["user"], is_active=True).first()
    if user is None or not hmac.compare_digest(begun["password"], _mark_of(user)):
        return None
    user.backend = begun["backend"]
    return user if user.backend in settings.AUTHENTICATION_BACKENDS else None


def finish(request: HttpRequest, user: User) -> str:
    """Sign in the person whose second step was right. Return the page that they wanted."""
    next_page = str(request.session.pop(PENDING)["next"])
    request.signed_in_with = "password and second factor"  # type: ignore[attr-defined]
    login(request, user)
    mark(request, services.factor_of(user))
    return next_page


def enter(request: HttpRequest, user: User) -> None:
    """Sign in a person whom the identity provider vouches for."""
    request.signed_in_with = PROVIDER  # type: ignore[attr-defined]
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session[FACTOR] = PROVIDER
    request.sign_in_is_complete = True  # type: ignore[attr-defined]


def mark(request: HttpRequest, factor: Any) -> None:
    """Remember the second factor that this session now rests on; ``None`` where it needs none any more."""
    if factor is None:
        request.session.pop(FACTOR, None)
    else:
        request.session[FACTOR] = str(factor.pk)
    request.sign_in_is_complete = True  # type: ignore[attr-defined]


def offered(request: HttpRequest) -> UUID:
    """Return the id of the second factor that this session is setting up; the same until it is set up."""
    return UUID(request.session.setdefault("second_factor_offered", str(uuid4())))


def forget_offer(request: HttpRequest) -> None:
    """Let the next setup begin with a new secret."""
    request.session.pop("second_factor_offered", None)


def _mark_of(user: User) -> str:
    return user.get_session_auth_hash()
