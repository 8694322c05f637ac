"""Accounts of people: the stock user admin for superusers, with a row in the audit trail for each change.

Accounts are deactivated, not deleted. ``roles`` defines what a role may do; nobody changes it on a page.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest

from voiceauth.platform.api import actor_of
from voiceauth.platform.audit.services import record
from voiceauth.review.admin.base import ReadOnlyAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Accounts of people, for superusers only."""

    list_display = ["username", "first_name", "last_name", "roles", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser", "groups"]
    filter_horizontal = ()
    actions = None
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Role", {"fields": ["is_active", "is_staff", "groups", "is_superuser"]}),
        ("Times", {"fields": ["last_login", "date_joined"]}),
    ]
    readonly_fields = ["last_login", "date_joined"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Select the rows of the list."""
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="role")
    def roles(self, obj: User) -> str:
        """Show the column “role”."""
        return ", ".join(group.name for group in obj.groups.all()) or "—"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to delete rows."""
        return False

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Change a password in one transaction."""
        with transaction.atomic():  # the stock view saves and logs in two
            return super().user_change_password(request, id, form_url)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record a new account in the audit trail."""
        self._record(request, "user.added", obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record a changed account in the audit trail."""
        self._record(request, "user.changed", obj, message)
        return super().log_change(request, obj, message)

    def _record(self, request: HttpRequest, action: str, user: User, message: Any) -> None:
        after = {
            "username": user.get_username(),
            "is_active": user.is_active,
            "is_staff": user.is_staff,
            "is_superuser": user.is_superuser,
            "roles": sorted(user.groups.values_list("name", flat=True)),
        }
        record(action=action, actor=actor_of(request), target=f"user:{user.pk}", after=after, data={"message": message})


@admin.register(Group)
class RoleAdmin(ReadOnlyAdmin):
    """Roles, read-only."""

    list_display = ["name"]
    fields = ["name", "permissions"]
