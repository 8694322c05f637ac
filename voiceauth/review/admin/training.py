"""Training runs: their progress, their curves, start and cancel."""

from typing import Any

import yaml
from django import forms
from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mltraining.figures import with_intervals
from voiceauth.platform.audit import Actor
from voiceauth.retraining.models import TrainingRun
from voiceauth.retraining.services import cancel_training, request_training
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter
from voiceauth.review.charts import badge, line_chart, metrics_table, pretty, progress_bar

TONES = {"QUEUED": "busy", "RUNNING": "busy", "SUCCEEDED": "good", "FAILED": "bad", "ERRORED": "bad"}
REFRESH_SECONDS = 5


class NewRun(forms.Form):
    """Overrides of the training configuration."""

    overrides = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "cols": 60, "placeholder": "training.epochs=15"}),
        help_text="Optional, one a line: section.key=value. They are added to the recipe and to "
        "VOICEAUTH_TRAINING_OVERRIDES; docs/training-configuration.md lists the keys.",
    )

    def clean_overrides(self) -> dict[str, Any]:
        """``{"training.epochs": 15}``; values are read as YAML."""
        parsed: dict[str, Any] = {}
        for line in filter(None, map(str.strip, self.cleaned_data["overrides"].splitlines())):
            key, equals, value = line.partition("=")
            if not equals or "." not in key:
                raise forms.ValidationError(f"“{line}” is not section.key=value.")
            try:
                parsed[key.strip()] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise forms.ValidationError(f"The value of “{key.strip()}” cannot be read.") from error
        return parsed


def _start(_: None, actor: Actor, given: dict[str, Any]) -> str:
    run = request_training(config=given["overrides"], actor=actor)
    return f"The {run} is queued."


def _cancel(run: TrainingRun, actor: Actor, _: dict[str, Any]) -> str:
    state = cancel_training(run_id=run.pk, actor=actor).state
    return "The run is cancelled." if state == TrainingRun.State.CANCELLED else "The run stops after its current step."


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """Training runs."""

    empty = "No training has run. “Start training” trains a model on the customers' own recordings."
    list_display = ["created_at", "status", "progress", "speakers", "requested_by", "error_code"]
    list_filter = ["state", ("created_at", DaysFilter)]
    change_form_template = "review/run.html"
    fieldsets = [
        (
            "Run",
            {"fields": ["id", "status", "progress", "candidate", "failure", "requested_by", "speakers", "clips"]},
        ),
        ("Times", {"fields": ["created_at", "started_at", "heartbeat_at", "finished_at"]}),
        ("Configuration", {"fields": ["asked_for", "resolved"], "classes": ["collapse"]}),
    ]
    operations = [
        Action(
            name="start",
            label="Start training",
            permission="review.run_training",
            question="Train a new model on the recordings of all enrolled customers who gave their consent? "
            "It becomes a candidate. Nothing changes for callers until it is promoted.",
            run=_start,
            form=NewRun,
            on_list=True,
        ),
        Action(
            name="cancel",
            label="Cancel run",
            permission="review.run_training",
            question="Cancel the {object}? It makes no model.",
            run=_cancel,
            available=lambda run: run.is_open and not run.cancel_requested,
            danger=True,
        ),
    ]

    def get_queryset(self, request: Any) -> Any:
        """Select the rows of the list."""
        return super().get_queryset(request).select_related("model")

    def changelist_view(self, request: Any, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list."""
        busy = TrainingRun.objects.filter(state__in=TrainingRun.OPEN).exists()
        return super().changelist_view(request, {"refresh": REFRESH_SECONDS if busy else None, **(extra_context or {})})

    def detail_context(self, request: Any, obj: TrainingRun) -> dict[str, Any]:
        """Return more context for the detail page."""
        busy = obj.is_open
        losses, areas = curves(obj.metrics, "loss"), curves(obj.metrics, "auc")
        return {
            "title": f"Training run of {obj.created_at:%d %b %Y, %H:%M}",
            "refresh": REFRESH_SECONDS if busy else None,
            "charts": [line_chart("Loss", losses), line_chart("ROC AUC", areas)] if obj.metrics else [],
            "metrics_table": metrics_table([with_intervals(epoch) for epoch in obj.metrics]),
            "model": obj.model,
        }

    @admin.display(description="state", ordering="state")
    def status(self, obj: TrainingRun) -> SafeString:
        """Show the column “state”."""
        words = "CANCELLING" if obj.cancel_requested and obj.state == TrainingRun.State.RUNNING else obj.state
        return badge(words, TONES.get(obj.state, "neutral"))

    @admin.display(description="progress", ordering="progress_percent")
    def progress(self, obj: TrainingRun) -> SafeString:
        """Show the column “progress”."""
        epoch = f", epoch {obj.epoch} of {obj.epochs}" if obj.epochs else ""
        return progress_bar(obj.progress_percent, f"{obj.phase}{epoch}" if obj.state == "RUNNING" else "")

    @admin.display(description="model")
    def candidate(self, obj: TrainingRun) -> str | SafeString:
        """Show the column “model”."""
        if obj.model is None:
            return "—"
        url = reverse("admin:mltraining_modelversion_change", args=[obj.model.pk])
        return format_html('<a href="{}">{}</a>', url, obj.model)

    @admin.display(description="failure")
    def failure(self, obj: TrainingRun) -> str:
        """Show the column “failure”."""
        return f"{obj.error_code}: {obj.error_message}" if obj.error_code else "—"

    @admin.display(description="requested")
    def asked_for(self, obj: TrainingRun) -> SafeString:
        """Show the column “requested”."""
        return pretty(obj.config)

    @admin.display(description="in full")
    def resolved(self, obj: TrainingRun) -> SafeString:
        """Show the column “in full”."""
        return pretty(obj.resolved_config)


def curves(metrics: list[dict[str, Any]], part: str) -> dict[str, list[float | None]]:
    """Return the series of a run's epoch metrics whose name contains ``part``."""
    names = dict.fromkeys(name for epoch in metrics for name in epoch if part in name.lower())
    return {name.replace("_", " "): [epoch.get(name) for epoch in metrics] for name in names}
