"""Accounts of people: the stock user admin for superusers, with a row in the audit trail for each change.

Accounts are deactivated, not deleted. ``roles`` defines what a role may do; nobody changes it on a page.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.exceptions import note
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError
from voiceauth.review.admin.base import ReadOnlyAdmin
from voiceauth.review.sign_in import services

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Accounts of people, for superusers only."""

    list_display = ["username", "first_name", "last_name", "roles", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser", "groups"]
    filter_horizontal = ()
    actions = None
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "review/list.html"
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Role", {"fields": ["is_active", "is_staff", "groups", "is_superuser"]}),
        ("Sign-in", {"fields": ["second_factor_state"]}),
        ("Times", {"fields": ["last_login", "date_joined"]}),
    ]
    readonly_fields = ["second_factor_state", "last_login", "date_joined"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Select the rows of the list."""
        return super().get_queryset(request).prefetch_related("groups")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list as the other lists are shown."""
        add = {"label": "New user", "tone": "act", "url": reverse("admin:auth_user_add")}
        context = {"heading": "Users", "title": "Users", "buttons": [add]}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show an account under its name, with a link to what it did."""
        user = kwargs.get("obj")
        context |= {"title": str(user or "New user")}
        if user is not None:
            trail = f"{reverse('admin:audit_auditevent_changelist')}?q=user%3A{user}"
            context["buttons"] = [{"label": "Audit trail", "tone": "link", "url": trail}]
        return super().render_change_form(request, context, *args, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the roles as boxes to tick."""
        field = super().formfield_for_manytomany(db_field, request, widget=forms.CheckboxSelectMultiple, **kwargs)
        assert field is not None
        field.label, field.help_text = (
            "Roles",
            "What each role may do is listed in docs/api.md. One is enough to sign in.",
        )
        return field

    @admin.display(description="role")
    def roles(self, obj: User) -> str:
        """Show the column “role”."""
        return ", ".join(group.name for group in obj.groups.all()) or "—"

    @admin.display(description="second factor")
    def second_factor_state(self, obj: User) -> str:
        """Show since when the person has a second factor, and how it is reset."""
        factor = services.factor_of(obj) if obj.pk else None
        if factor is None:
            return "not set up"
        address = reverse("admin:auth_user_reset_second_factor", args=[obj.pk])
        return format_html('set up on {} · <a href="{}">Reset it</a>', f"{factor.created_at:%d %b %Y}", address)

    def get_urls(self) -> list[URLPattern]:
        """Add the page that resets a second factor."""
        view = self.admin_site.admin_view(self._reset_second_factor)
        own = path("<int:pk>/second-factor/reset/", view, name="auth_user_reset_second_factor")
        return [own, *super().get_urls()]

    def _reset_second_factor(self, request: HttpRequest, pk: int) -> HttpResponse:
        user = get_object_or_404(User, pk=pk)
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        back = reverse("admin:auth_user_change", args=[pk])
        if request.method == "POST":
            try:
                services.reset(user=user, actor=actor_of(request))
                messages.success(request, f"{user} has no second factor any more, and has to sign in again.")
            except DomainError as error:
                messages.error(request, note(error, request).message)
            return HttpResponseRedirect(back)
        context = {
            "opts": self.opts,
            "heading": "Users",
            "object": user,
            "back": back,
            "title": "Reset second factor",
            "action": {"label": "Reset second factor", "danger": True},
            "question": f"Reset the second factor of {user}? Their sessions end, and the password alone signs them in "
            "until they set up another one. First make sure that it is they who ask.",
        }
        return TemplateResponse(request, "review/confirm.html", {**self.admin_site.each_context(request), **context})

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
