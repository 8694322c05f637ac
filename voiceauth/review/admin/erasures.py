"""Erasures: which are under way, which fail, and the receipts of those that are done."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from voiceauth.platform.erasure import selectors
from voiceauth.platform.erasure.models import Erasure
from voiceauth.review.admin.base import ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter, ValuesFilter
from voiceauth.review.charts import badge

TONES = {"QUEUED": "busy", "RUNNING": "busy", "SUCCEEDED": "good"}
REFRESH_SECONDS = 5


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    """The list and the page of an erasure."""

    empty = "Nothing has been erased. An erasure begins on the page of a customer, or when a consent is withdrawn."
    list_display = ["created_at", "customer_id", "cause", "status", "attempts", "failure", "receipt"]
    list_filter = ["state", ("cause", ValuesFilter), ("created_at", DaysFilter)]
    search_fields = ["customer_id__exact"]
    fieldsets = [
        (None, {"fields": ["id", "customer_id", "cause", "status", "deleted", "failure", "receipt", "requested_by"]}),
        ("Times", {"fields": ["created_at", "started_at", "finished_at", "attempts"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Erasure]:
        """Show the erasures of watched voices only to whoever may see watchlists."""
        return selectors.erasures(of_customers_only=not request.user.has_perm("screening.view_fraudster"))

    def detail_context(self, request: HttpRequest, obj: Erasure) -> dict[str, Any]:
        """Title the page, and refresh it until the erasure is done."""
        title = f"Erasure of {obj.created_at:%d %b %Y, %H:%M}"
        return {"title": title, "refresh": REFRESH_SECONDS if obj.is_open else None}

    @admin.display(description="state", ordering="state")
    def status(self, obj: Erasure) -> SafeString:
        """Show the state; one that failed and is tried again is marked."""
        return badge(obj.state, "bad" if obj.is_open and obj.error_code else TONES[obj.state])

    @admin.display(description="latest failure")
    def failure(self, obj: Erasure) -> str:
        """Show why the latest attempt failed."""
        return f"{obj.error_code}: {obj.error_message}" if obj.error_code else "—"

    @admin.display(description="deleted at once")
    def deleted(self, obj: Erasure) -> str:
        """Show how many rows of each kind were deleted."""
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in obj.counts.items())

    @admin.display(description="receipt")
    def receipt(self, obj: Erasure) -> str:
        """Show the receipt, once nothing is left."""
        return str(obj.pk) if obj.state == Erasure.State.SUCCEEDED else "when nothing is left"
