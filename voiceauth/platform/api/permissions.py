"""Who may call what. Nothing is allowed unless a view says so; ``roles`` says what each role may do."""

from typing import Any, ClassVar

from rest_framework.permissions import BasePermission

from voiceauth.platform.api.roles import READ_METHODS, SCOPES, roles_with
from voiceauth.platform.errors import DomainError


class MissingScope(DomainError):
    """The client's role, or its token, lacks the ``scope``. Carries it, and the ``roles`` that have it."""

    code = "permission_denied"
    status = 403
    message = "This call needs the scope {scope}, which your token does not have. These roles have it: {listed}."

    def __init__(self, scope: str) -> None:
        roles = sorted(roles_with(scope))
        super().__init__(self.message.format(scope=scope, listed=", ".join(roles)), scope=scope, roles=roles)


class DenyAll(BasePermission):
    """The default: a view without ``permission_classes`` answers nobody."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Refuse."""
        return False


class ScopePermission(BasePermission):
    """The client's role has the scope, and its token is not limited to others."""

    scope: ClassVar[str]
    reads: ClassVar[str]
    deletes: ClassVar[str]

    @classmethod
    def scope_for(cls, method: str) -> str:
        """Return the scope that a call by ``method`` needs."""
        if method in READ_METHODS:
            return cls.reads
        return cls.deletes if method == "DELETE" else cls.scope

    def has_permission(self, request: Any, view: Any) -> bool:
        """Ask the client. Raises ``MissingScope``."""
        if request.user is None:
            return False
        scope = self.scope_for(request.method)
        if not request.user.may(scope):
            raise MissingScope(scope)
        return True


def needs(scope: str, *, reads: str = "", deletes: str = "") -> type[ScopePermission]:
    """Return a permission for clients with ``scope``; GET needs ``reads`` and DELETE ``deletes`` where given.

    Raises ``ValueError`` for a scope that is not in the table of ``roles``.
    """
    names = {"scope": scope, "reads": reads or scope, "deletes": deletes or scope}
    if unknown := set(names.values()) - SCOPES:
        raise ValueError(f"no role has {', '.join(sorted(unknown))}")
    return type("Needs", (ScopePermission,), names)


def scope_of(view: Any, method: str) -> str:
    """Return the scope that a call of ``view`` needs; empty where it names none."""
    found = (each.scope_for(method) for each in view.permission_classes if hasattr(each, "scope_for"))
    return next(found, "")
