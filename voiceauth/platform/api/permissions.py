"""Who may call what. Nothing is allowed unless a view says so; ``scopes`` says what each role may."""

from typing import Any, ClassVar

from rest_framework.permissions import BasePermission

from voiceauth.platform.api import scopes


class DenyAll(BasePermission):
    """The default: a view without ``permission_classes`` answers nobody."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return False


class ScopePermission(BasePermission):
    """The client's role has the scope, and its token is not limited to others."""

    scope: ClassVar[str]
    reads: ClassVar[str]

    @classmethod
    def scope_for(cls, method: str) -> str:
        """The scope that a call by ``method`` needs."""
        return cls.reads if method in scopes.READ_METHODS else cls.scope

    def has_permission(self, request: Any, view: Any) -> bool:
        return request.user is not None and request.user.may(self.scope_for(request.method))


def needs(scope: str, *, reads: str | None = None) -> type[ScopePermission]:
    """A permission for clients with ``scope``; with ``reads`` GET needs that one instead."""
    read_scope = scope if reads is None else reads
    if unknown := {scope, read_scope} - scopes.SCOPES:
        raise ValueError(f"no role has {', '.join(sorted(unknown))}")
    return type("Needs", (ScopePermission,), {"scope": scope, "reads": read_scope})


def scope_of(view: Any, method: str) -> str:
    """The scope that a call of ``view`` needs; empty where it names none."""
    found = (each.scope_for(method) for each in view.permission_classes if hasattr(each, "scope_for"))
    return next(found, "")
