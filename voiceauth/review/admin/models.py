"""The registry of models: their figures and charts beside those of the model in service, promotion and the way back."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Value
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from mltraining.figures import in_words, with_intervals
from mltraining.models import ModelVersion
from mltraining.registry import charts_of
from voiceauth.platform.api.serializers import rounded_probability
from voiceauth.platform.audit import Actor
from voiceauth.policies import selectors as policies
from voiceauth.retraining import evidence
from voiceauth.retraining.evidence import Evidence
from voiceauth.retraining.recalibration_services import request_recalibration
from voiceauth.retraining.selectors import last_promotion
from voiceauth.retraining.services import request_forced_promotion, request_promotion
from voiceauth.review import error_rates
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.recalibrations import NewCalibration
from voiceauth.review.charts import badge, facts, pretty, progress_bar
from voiceauth.review.model_report import report_on
from voiceauth.review.thresholds import Wanted, preview
from voiceauth.verification.models import DriftReport

State = ModelVersion.State
TONES = {State.ACTIVE: "good", State.PROMOTING: "busy"}
HEADLINES = {"roc_auc": "ROC AUC", "eer": "EER", "rank_one": "Rank 1"}
REFRESH_SECONDS = 5


def _promote(model: ModelVersion, actor: Actor, _: dict[str, Any]) -> str:
    request_promotion(version=model.version, actor=actor)
    return f"{model.version} is being promoted: voiceprints are made under it first, then it takes over."


class Why(forms.Form):
    """The reason for a request that a second person must approve."""

    reason = forms.CharField(max_length=200, help_text="For whoever approves it, and for the trail.")


def _force(model: ModelVersion, actor: Actor, given: dict[str, Any]) -> str:
    approval = request_forced_promotion(version=model.version, reason=given["reason"], actor=actor)
    return f"Asked for. Somebody else must approve it until {approval.expires_at:%d %b %Y, %H:%M}."


def _recalibrate(model: ModelVersion, actor: Actor, given: dict[str, Any]) -> SafeString:
    fitted = request_recalibration(version=model.version, source=given["source"], actor=actor)
    page = reverse("admin:retraining_recalibration_change", args=[fitted.pk])
    return format_html('A worker fits the calibration. <a href="{}">See what it would have decided</a>', page)


def _evidence(model: ModelVersion) -> Evidence:
    return evidence.of(model, getattr(model, "target_far", None))


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Models: figures, promotion and the way back."""

    empty = "There is no model, so no call is scored. Start a training, or run manage.py import_model."
    list_display = ["version", "status", "headline", "proof", "short_fingerprint", "created_at"]
    list_filter = ["state"]
    search_fields = ["version", "fingerprint"]
    change_form_template = "review/model.html"
    fieldsets = [
        (
            "Model",
            {"fields": ["version", "status", "run", "calibration_version", "fingerprint", "data_hash"]},
        ),
        ("Origin", {"fields": ["origin", "licence", "licence_text"]}),
        ("Evidence", {"fields": ["proof", "measured_on", "accepts_from"]}),
        ("Times", {"fields": ["created_at", "activated_at", "promotion_requested_by", "promotion_error"]}),
        ("Metrics", {"fields": ["figures"]}),
        ("Configuration", {"fields": ["configuration"], "classes": ["collapse"]}),
    ]
    operations = [
        Action(
            name="promote",
            label="Promote",
            permission="review.promote_model",
            question="Promote {object}? Every voiceprint is made again under it, then calls are scored with it, "
            "in one step. The model in service until then is kept, and is the way back.",
            run=_promote,
            available=lambda model: model.state == State.CANDIDATE,
        ),
        Action(
            name="force",
            label="Promote by force",
            permission="review.promote_model",
            question="Ask that {object} be promoted although it lacks evidence, or does not beat the model in service "
            "on the frozen set? Somebody else must approve it.",
            run=_force,
            form=Why,
            available=lambda model: model.state == State.CANDIDATE,
            danger=True,
        ),
        Action(
            name="recalibrate",
            label="Recalibrate",
            permission="review.promote_model",
            question="Fit another calibration for {object}? Nothing changes for callers: you see first what it would "
            "have decided on past calls, and a second person must approve it.",
            run=_recalibrate,
            form=NewCalibration,
        ),
        Action(
            name="roll-back",
            label="Roll back to this model",
            permission="review.promote_model",
            question="Put {object} back in service? Voiceprints that are missing under it are made first, then it "
            "takes over in one step.",
            run=_promote,
            available=lambda model: model.state == State.RETIRED,
        ),
    ]

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        view = self.admin_site.admin_view
        return [
            path(
                "<str:version>/charts/<str:name>",
                view(require_GET(self.chart)),
                name="mltraining_modelversion_chart",
            ),
            path(
                "<str:version>/thresholds/",
                view(require_GET(self.thresholds)),
                name="mltraining_modelversion_thresholds",
            ),
            path("<str:version>/card.md", view(require_GET(self.card)), name="mltraining_modelversion_card"),
            *super().get_urls(),
        ]

    def related(self, request: HttpRequest, obj: ModelVersion) -> list[tuple[str, str]]:
        """Link to the preview of thresholds, for whom decisions are shown, and to the model card."""
        pages = [("Model card", reverse("admin:mltraining_modelversion_card", args=[obj.pk]))]
        if request.user.has_perm("verification.view_decision"):
            pages.insert(0, ("Try thresholds", reverse("admin:mltraining_modelversion_thresholds", args=[obj.pk])))
        return pages

    def thresholds(self, request: HttpRequest, version: str) -> HttpResponseBase:
        """Show what other thresholds would have decided on past calls."""
        if not (self.has_view_permission(request) and request.user.has_perm("verification.view_decision")):
            raise PermissionDenied
        model = self._found(request, version)
        form = Wanted({"days": "30", **request.GET.dict()})
        given: dict[str, Any] = form.cleaned_data if form.is_valid() else {"days": 30, "probability": None}
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "heading": self.heading,
            "title": "What other thresholds would have decided",
            "object": model,
            "back": self._back(model),
            "form": form,
            "days": given["days"],
            **preview(model, days=given["days"], probability=given["probability"]),
        }
        return TemplateResponse(request, "review/thresholds.html", context)

    def card(self, request: HttpRequest, version: str) -> HttpResponseBase:
        """Serve the model card: what the registry knows of the model, as Markdown."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        model = self._found(request, version)
        found = _evidence(model)
        known = found.calibration
        rates = known.parameters.get("thresholds", []) if known else []
        content = {
            "model": model,
            "known": known,
            "evidence": found,
            "rates": [(f"{100 * rate:g} %", f"{ratio:+.2f}") for rate, ratio in rates],
            "headline": self.headline(model),
            "report": report_on(model),
        }
        card = render_to_string("review/model_card.md", content)
        name = f"attachment; filename=model-{model.version}.md"
        return HttpResponse(card, "text/markdown; charset=utf-8", headers={"Content-Disposition": name})

    def _found(self, request: HttpRequest, version: str) -> ModelVersion:
        model: ModelVersion | None = self.get_queryset(request).filter(version=version).first()
        if model is None:
            raise Http404
        return model

    def chart(self, request: HttpRequest, version: str, name: str) -> HttpResponseBase:
        """Serve a chart of the training."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not ModelVersion.objects.filter(version=version).exists():  # the path is built from known names only
            raise Http404
        found = next((chart for chart in charts_of(version) if chart.name == name), None)
        if found is None:
            raise Http404
        return FileResponse(found.open("rb"), content_type="image/png")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Select the models, with the rate that their evidence is judged at: the policy is read once for a page."""
        rate = Value(policies.in_force().verification.target_far)
        found = super().get_queryset(request).select_related("training_run").annotate(target_far=rate)
        return found.prefetch_related("promotions", "calibrations")

    def detail_context(self, request: HttpRequest, obj: ModelVersion) -> dict[str, Any]:
        """Return more context for the detail page."""
        images = [
            (chart.stem.replace("_", " "), reverse("admin:mltraining_modelversion_chart", args=[obj.pk, chart.name]))
            for chart in charts_of(obj.version)
        ]
        return {
            "title": f"Model {obj.version}",
            "images": images,
            "report": report_on(obj),
            "refresh": REFRESH_SECONDS if obj.state == State.PROMOTING else None,
            **error_rates.shown(DriftReport.objects.filter(model=obj).first()),
        }

    @admin.display(description="state", ordering="state")
    def status(self, obj: ModelVersion) -> SafeString:
        """Show the column “state”."""
        promotion = last_promotion(obj)
        if promotion and promotion.is_open:
            return progress_bar(promotion.progress_percent, "promoting")
        return badge(obj.state, TONES.get(State(obj.state), "neutral"))

    @admin.display
    def promotion_requested_by(self, obj: ModelVersion) -> str:
        """Show who asked for the last promotion."""
        promotion = last_promotion(obj)
        return promotion.requested_by if promotion else "—"

    @admin.display
    def promotion_error(self, obj: ModelVersion) -> str:
        """Show why the last promotion failed."""
        promotion = last_promotion(obj)
        return (promotion.error_code if promotion else "") or "—"

    @admin.display(description="evidence")
    def proof(self, obj: ModelVersion) -> SafeString:
        """Whether the model may serve without a forced promotion, and what is missing."""
        found = _evidence(obj)
        if found.is_sufficient:
            return badge(f"supports {found.target_far:g} false accepts", "good")
        lacks = format_html_join("", "<li>{}</li>", ((str(each),) for each in found.missing))
        return format_html("{}<ul>{}</ul>", badge(f"does not support {found.target_far:g} false accepts", "bad"), lacks)

    @admin.display(description="calibration measured on")
    def measured_on(self, obj: ModelVersion) -> str:
        """Show the column “calibration measured on”."""
        found = _evidence(obj).calibration
        if found is None:
            return "—"
        return (
            f"{found.target_trials} target and {found.impostor_trials} impostor trials of {found.speakers or '?'} "
            f"speakers: {found.source}"
        )

    @admin.display(description="accepts from")
    def accepts_from(self, obj: ModelVersion) -> str:
        """Show the threshold of calls without a tier."""
        threshold = _evidence(obj).summary()["threshold"]
        return "—" if threshold is None else f"{rounded_probability(threshold)}, for calls without a tier"

    @admin.display(description="metrics")
    def headline(self, obj: ModelVersion) -> str:
        """Show the figures that are compared first, each with its interval and its trials."""
        found = with_intervals(obj.metrics)
        known = [f"{label} {in_words(found[name])}" for name, label in HEADLINES.items() if name in found]
        return " · ".join(known) or "—"

    @admin.display(description="fingerprint")
    def short_fingerprint(self, obj: ModelVersion) -> SafeString:
        """Show the column “fingerprint”."""
        return format_html("<code>{}</code>", obj.fingerprint[:8])

    @admin.display(description="training run")
    def run(self, obj: ModelVersion) -> str | SafeString:
        """Show the column “training run”."""
        run = getattr(obj, "training_run", None)
        if run is None:
            return "—"
        return format_html('<a href="{}">{}</a>', reverse("admin:retraining_trainingrun_change", args=[run.pk]), run)

    @admin.display(description="metrics")
    def figures(self, obj: ModelVersion) -> SafeString:
        """Show the column “metrics”."""
        apart = ("comparison", "evaluation")  # which are shown slice by slice
        return facts(with_intervals({name: value for name, value in obj.metrics.items() if name not in apart}))

    @admin.display
    def origin(self, obj: ModelVersion) -> str:
        """Show where the encoder's weights come from."""
        return f"{obj.imported['name']}, imported: {obj.imported['origin']}" if obj.imported else "trained here"

    @admin.display
    def licence(self, obj: ModelVersion) -> str:
        """Show the name of an imported encoder's licence."""
        return obj.imported["licence"] if obj.imported else "—"

    @admin.display(description="licence text")
    def licence_text(self, obj: ModelVersion) -> str | SafeString:
        """Show the text of an imported encoder's licence."""
        return format_html("<pre>{}</pre>", obj.imported["licence_text"]) if obj.imported else "—"

    @admin.display(description="resolved configuration")
    def configuration(self, obj: ModelVersion) -> SafeString:
        """Show the column “resolved configuration”."""
        return pretty(obj.config)
