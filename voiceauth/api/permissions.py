"""Who may call what. Nothing is allowed unless a view says so."""

from typing import Any

from rest_framework.permissions import BasePermission


class DenyAll(BasePermission):
    """The default: a view without ``permission_classes`` answers nobody."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return False


def allow(*roles: str) -> type[BasePermission]:
    """A permission for API clients with one of ``roles``. No role includes another."""

    class RoleIn(BasePermission):
        allowed = frozenset(roles)

        def has_permission(self, request: Any, view: Any) -> bool:
            return getattr(request.user, "role", None) in self.allowed

    return RoleIn
