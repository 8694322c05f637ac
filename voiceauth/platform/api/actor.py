"""Who is behind a request, as the audit trail names them."""

from typing import Any

from voiceauth.platform.audit import Actor

PEOPLES_ROLES = ("admin", "reviewer", "teller", "auditor")  # groups, the most powerful first


def role_of(user: Any) -> str:
    """Return the role that a signed-in person acts in: the most powerful of their groups, or ``none``."""
    if user.is_superuser:
        return "admin"
    groups = set(user.groups.values_list("name", flat=True))
    return next((role for role in PEOPLES_ROLES if role in groups), "none")


def actor_of(request: Any) -> Actor:
    """Return the actor of a DRF or Django request: an API client by its name, a person as ``user:<name>``.

    Without either it is ``anonymous``.
    """
    user = getattr(request, "user", None)
    name, role = "anonymous", "anonymous"
    if user is not None and user.is_authenticated:
        if hasattr(user, "role"):
            name, role = user.name, user.role
        else:
            name, role = f"user:{user.get_username()}"[:128], role_of(user)
    return Actor(
        name=name,
        role=role,
        ip_address=getattr(request, "client_ip", ""),
        request_id=getattr(request, "request_id", ""),
    )
