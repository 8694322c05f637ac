"""Calibrations that were fitted on the dashboard, and what each would have decided on past calls."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from voiceauth.platform.api.serializers import rounded_probability
from voiceauth.platform.audit import Actor
from voiceauth.retraining.models import Recalibration
from voiceauth.retraining.recalibration_services import request_force
from voiceauth.review.admin.base import Action, ReadOnlyAdmin, Why
from voiceauth.review.admin.lists import DaysFilter
from voiceauth.review.charts import badge, progress_bar

State = Recalibration.State
TONES = {"QUEUED": "busy", "RUNNING": "busy", "SUCCEEDED": "good", "FAILED": "bad", "ERRORED": "bad"}
REFRESH_SECONDS = 5


class NewCalibration(forms.Form):
    """Which trials to fit a calibration on."""

    source = forms.ChoiceField(
        label="Fit it on",
        choices=Recalibration.Source.choices,
        help_text="The truth of these calls is known: reviewers closed their cases, or the recordings say who speaks.",
    )


def _force(fitted: Recalibration, actor: Actor, given: dict[str, Any]) -> str:
    approval = request_force(recalibration_id=fitted.pk, reason=given["reason"], actor=actor)
    return f"A second person must approve it until {approval.expires_at:%d %b %Y, %H:%M}. Look under Approvals."


def _is_waiting(fitted: Recalibration) -> bool:
    return fitted.state == State.SUCCEEDED and not fitted.in_force


@admin.register(Recalibration)
class RecalibrationAdmin(ReadOnlyAdmin):
    """Fitted calibrations."""

    empty = "No calibration was fitted here. “Recalibrate” on the page of a model fits one and shows what it changes."
    list_display = ["created_at", "of_model", "source", "status", "requested_by"]
    list_select_related = ["model"]
    list_filter = ["state", ("created_at", DaysFilter)]
    change_form_template = "review/recalibration.html"
    fieldsets = [
        ("Calibration", {"fields": ["of_model", "status", "source", "version", "measured", "failure"]}),
        ("Times", {"fields": ["requested_by", "created_at", "started_at", "finished_at"]}),
    ]
    operations = [
        Action(
            name="put-into-force",
            label="Put into force",
            permission="review.promote_model",
            question="Ask that the scores of {object.model_id} be read by this calibration from the next call on? "
            "Somebody else must approve it. Voiceprints stay as they are.",
            run=_force,
            form=Why,
            available=_is_waiting,
        )
    ]

    def related(self, request: HttpRequest, obj: Recalibration) -> list[tuple[str, str]]:
        """Link to the model."""
        return [("Model", reverse("admin:mltraining_modelversion_change", args=[obj.model_id]))]

    def detail_context(self, request: HttpRequest, obj: Recalibration) -> dict[str, Any]:
        """Return what was measured, and the counts of past calls."""
        total = obj.preview.get("total", 0)
        outcomes = [
            {
                **each,
                "name": f"false-accept rate {100 * each['rate']:g} %",
                "probability": rounded_probability(each["probability"]),
                "rejected": total - each["accepted"],
            }
            for each in obj.preview.get("outcomes", [])
        ]
        accepted = obj.preview.get("accepted", 0)
        return {
            "title": f"Calibration of {obj.model_id}, {obj.created_at:%d %b %Y, %H:%M}",
            "refresh": REFRESH_SECONDS if obj.is_open else None,
            "total": total,
            "accepted": accepted,
            "rejected": total - accepted,
            "days": obj.preview.get("days"),
            "outcomes": outcomes,
        }

    @admin.display(description="model", ordering="model")
    def of_model(self, obj: Recalibration) -> SafeString:
        """Show the model, with a link to its page."""
        url = reverse("admin:mltraining_modelversion_change", args=[obj.model_id])
        return format_html('<a href="{}">{}</a>', url, obj.model_id)

    @admin.display(description="state", ordering="state")
    def status(self, obj: Recalibration) -> SafeString:
        """Show whether it is fitted, or in force."""
        if obj.in_force:
            return badge("IN FORCE", "good")
        if obj.state == State.RUNNING:
            return progress_bar(obj.progress_percent, obj.phase)
        return badge("FITTED" if obj.state == State.SUCCEEDED else obj.state, TONES.get(obj.state, "neutral"))

    @admin.display(description="version")
    def version(self, obj: Recalibration) -> str:
        """Show the version that decisions would name."""
        return obj.parameters.get("version", "—")

    @admin.display(description="measured on")
    def measured(self, obj: Recalibration) -> str:
        """Show how many trials it rests on."""
        known = obj.measured_on
        if not known:
            return "—"
        return (
            f"{known['target_trials']:,} target and {known['impostor_trials']:,} impostor trials of "
            f"{known['speakers']:,} speakers: {known['source']}"
        )

    @admin.display(description="failure")
    def failure(self, obj: Recalibration) -> str:
        """Show why nothing was fitted."""
        return f"{obj.error_code}: {obj.error_message}" if obj.error_code else "—"
