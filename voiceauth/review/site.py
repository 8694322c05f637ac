"""The review site: the Django admin with our index, our sections and a record of what it refuses."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

# The menu: the models of several apps under the names that people use, in the order in which a reviewer meets them.
SECTIONS = {
    "Calls and customers": {
        "Decision": "Decisions",
        "Customer": "Customers",
        "AudioSample": "Held recordings",
        "BatchEnrollment": "Batch enrollments",
        "Erasure": "Erasures",
    },
    "Fraud": {"ReviewCase": "Review cases", "Watchlist": "Watchlists", "Fraudster": "Fraudsters"},
    "Training and models": {
        "TrainingRun": "Training runs",
        "ModelVersion": "Models",
        "Recalibration": "Calibrations",
        "DriftReport": "Drift",
    },
    "Oversight": {
        "AuditEvent": "Audit trail",
        "Approval": "Approvals",
        "PolicyVersion": "Policy",
        "ApiClient": "API clients",
        "WebhookEndpoint": "Webhooks",
        "WebhookDelivery": "Webhook deliveries",
    },
    "People": {"User": "Users", "Group": "Roles"},
}
REFRESH_SECONDS = 10  # of the overview
# Pages that are reached from their parent's page only: a list of them would mix parents.
NOT_IN_THE_MENU = {"BatchResult": "Batch results"}
NAMES = {model: name for models in [*SECTIONS.values(), NOT_IN_THE_MENU] for model, name in models.items()}


class ReviewSite(admin.AdminSite):
    """The dashboard: an admin site of our own."""

    site_header = "voiceauth"
    site_title = "voiceauth"
    index_title = "Overview"
    index_template = "review/index.html"
    site_url = None
    empty_value_display = "—"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        """Wrap a view so that a refusal is recorded in the audit trail."""

        def recorded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            from voiceauth.platform.api.exceptions import note

            try:
                return view(request, *args, **kwargs)
            except PermissionDenied as error:
                note(error, request)  # the middleware records the refusal
                raise

        recorded.csrf_exempt = getattr(view, "csrf_exempt", False)  # type: ignore[attr-defined]
        return super().admin_view(recorded, cacheable)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:  # type: ignore[override]
        """Ask for the password. ``sign_in`` asks for the second factor where one is needed.

        Guesses are counted by address over all names; ``axes`` counts them by name and address.
        """
        from django.contrib.auth import logout

        from voiceauth.platform.api import throttling
        from voiceauth.platform.api.exceptions import note
        from voiceauth.review.sign_in.views import PasswordView

        try:
            if request.method == "POST":
                throttling.admit_anonymous(request)
        except throttling.Throttled as error:
            failure = note(error, request)
            return HttpResponse(failure.message, "text/plain", failure.status, headers=failure.headers)
        if request.method == "POST" and not settings.VOICEAUTH_LOCAL_PASSWORDS:
            raise PermissionDenied
        if request.method == "GET":
            if self.has_permission(request):
                return HttpResponseRedirect(reverse("admin:index"))
            logout(request)  # a session that no longer counts: the second factor has changed, or is required by now
        context = {
            **self.each_context(request),
            "title": "Sign in",
            "app_path": request.get_full_path(),
            REDIRECT_FIELD_NAME: reverse("admin:index"),
            "has_provider": bool(settings.VOICEAUTH_OIDC_ISSUER),
            "has_passwords": settings.VOICEAUTH_LOCAL_PASSWORDS,
        }
        if REDIRECT_FIELD_NAME in request.GET or REDIRECT_FIELD_NAME in request.POST:
            del context[REDIRECT_FIELD_NAME]  # the view knows it
        return PasswordView.as_view(extra_context=context, template_name="admin/login.html")(request)

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the person may enter: a role is enough, with the second factor that it needs."""
        from voiceauth.review.sign_in import sessions

        return sessions.may_enter(request.user) and sessions.is_complete(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the overview with its figures."""
        from voiceauth.review.summary import summary

        context = {"summary": summary(request.user), "refresh": REFRESH_SECONDS}
        return super().index(request, {**(extra_context or {}), **context})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """Build the menu from ``SECTIONS``."""
        if app_label is not None:
            return super().get_app_list(request, app_label)
        known = {
            model["object_name"]: {**model, "name": NAMES.get(model["object_name"], model["name"])}
            for app in super().get_app_list(request)
            for model in app["models"]
        }
        return [
            {
                "name": section,
                "app_label": section.lower().replace(" ", "-"),
                "app_url": "#",
                "has_module_perms": True,
                "models": [known[model] for model in models if model in known],
            }
            for section, models in SECTIONS.items()
            if any(model in known for model in models)
        ]

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Change the own password, and record it in the audit trail."""
        from voiceauth.platform.api import actor_of
        from voiceauth.platform.audit.services import record

        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302:
                record(action="user.password_changed", actor=actor_of(request), target=f"user:{request.user.pk}")
        return response


class ReviewAdminConfig(AdminConfig):
    """Makes ``ReviewSite`` the default admin site."""

    default_site = "voiceauth.review.site.ReviewSite"
