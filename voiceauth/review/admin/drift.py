"""Reports of drift: the calls of a week beside those that the model in service began with."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from voiceauth.review import error_rates
from voiceauth.review.admin.base import ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter
from voiceauth.review.charts import badge, two_bars
from voiceauth.verification.drift import ALARM, LEAST_CALLS, NOTICE
from voiceauth.verification.models import DriftReport

NAMES = {
    "score": "scores",
    "speech_seconds": "net speech, in seconds",
    "snr_db": "signal-to-noise ratio, in dB",
    "decision": "decisions",
}


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    """The list and the page of a report."""

    empty = f"There is no report yet. One is made each night once the model decided {LEAST_CALLS} calls in a week."
    list_display = ["until", "of_model", "result", "indices"]
    list_select_related = ["model"]
    list_filter = [("model", admin.RelatedOnlyFieldListFilter), ("until", DaysFilter)]
    change_form_template = "review/drift.html"
    fieldsets = [("Report", {"fields": ["of_model", "result", "week", "reference"]})]

    def detail_context(self, request: HttpRequest, obj: DriftReport) -> dict[str, Any]:
        """Return the measures with their charts."""
        measures = [
            {"name": NAMES.get(name, name), "index": _index(measure["psi"]), "rows": _rows(measure), "calls": measure}
            for name, measure in obj.measures.items()
        ]
        title = f"Drift in the week until {obj.until:%d %b %Y}"
        return {"title": title, "measures": measures, **error_rates.shown(obj)}

    @admin.display(description="model", ordering="model")
    def of_model(self, obj: DriftReport) -> SafeString:
        """Show the model, with a link to its page."""
        url = reverse("admin:mltraining_modelversion_change", args=[obj.model_id])
        return format_html('<a href="{}">{}</a>', url, obj.model_id)

    @admin.display(description="result")
    def result(self, obj: DriftReport) -> SafeString:
        """Show which measures alarm."""
        if not obj.alarms:
            return badge("no drift", "good")
        return badge("drift: " + ", ".join(NAMES.get(name, name) for name in obj.alarms), "bad")

    @admin.display(description="population stability index")
    def indices(self, obj: DriftReport) -> SafeString:
        """Show the index of each measure."""
        parts = ((NAMES.get(name, name).partition(",")[0], measure["psi"]) for name, measure in obj.measures.items())
        return format_html_join(" · ", "{} {}", ((name, f"{psi:.3f}") for name, psi in parts))

    @admin.display
    def week(self, obj: DriftReport) -> str:
        """Show which days were compared."""
        return f"{obj.since:%d %b %Y} to {obj.until:%d %b %Y}"

    @admin.display(description="reference")
    def reference(self, obj: DriftReport) -> str:
        """Show with which days they were compared."""
        first, last = f"{obj.reference_since:%d %b %Y}", f"{obj.reference_until:%d %b %Y}"
        return f"{first} to {last}, the first days of the model in service"


def _index(psi: float) -> SafeString:
    tone, words = ("bad", "drift") if psi >= ALARM else ("busy", "some change") if psi >= NOTICE else ("good", "stable")
    return badge(f"{psi:.3f}, {words}", tone)


def _rows(measure: Mapping[str, Any]) -> list[tuple[str, float, float, SafeString]]:
    """Return each bin with its shares in percent, and their bars."""
    top = max([*measure["reference"], *measure["recent"]])
    parts = zip(_bins(measure), measure["reference"], measure["recent"], strict=True)
    return [(name, 100 * before, 100 * now, two_bars(before, now, top)) for name, before, now in parts]


def _bins(measure: Mapping[str, Any]) -> Sequence[str]:
    """Name the bins of a measure."""
    if "names" in measure:
        return [str(name) for name in measure["names"]]
    edges = [f"{edge:.3g}" for edge in measure["edges"]]
    inner = (f"{low} to {high}" for low, high in pairwise(edges))
    return [f"below {edges[0]}", *inner, f"{edges[-1]} and more"]
