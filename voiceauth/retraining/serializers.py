"""What the API takes and answers about training runs and models."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from mltraining.figures import with_intervals
from mltraining.models import ModelVersion
from voiceauth.platform.api.serializers import (
    AnswerSerializer,
    Probability,
    StrictSerializer,
    rounded,
    rounded_throughout,
)
from voiceauth.policies import selectors as policies
from voiceauth.policies.apis import MissingAnswer
from voiceauth.retraining import evidence
from voiceauth.retraining.models import Recalibration, TrainingRun
from voiceauth.retraining.selectors import last_promotion


class TrainingRunRequest(StrictSerializer):
    """A retrain to be queued."""

    config = serializers.DictField(
        required=False,
        default=dict,
        help_text="Overrides of the training configuration by dotted name, "
        'for example `{"training.epochs": 15, "training.loss_function": "CosineBCE"}`.',
    )


class PromotionRequest(StrictSerializer):
    """How a model is to be promoted."""

    force = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Promote it without enough evidence, or against the frozen set. A second person must approve it.",
    )
    reason = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=200, help_text="Why it is forced; needed with `force`."
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Require a reason with ``force``."""
        if given["force"] and not given["reason"]:
            raise serializers.ValidationError({"reason": ["Give a reason for forcing the promotion."]})
        return given


class TrainingRunSerializer(AnswerSerializer):
    """A training run: its progress, its metrics so far, and the candidate that came of it."""

    model = serializers.CharField(source="model_id", allow_null=True, read_only=True, help_text="The candidate.")
    metrics = serializers.SerializerMethodField(help_text="One object an epoch, its rates as figures with intervals.")
    config = serializers.DictField(read_only=True, help_text="The overrides of the request.")
    resolved_config = serializers.DictField(read_only=True, help_text="What the run trains with.")

    class Meta:
        model = TrainingRun
        fields = (
            "id",
            "state",
            "phase",
            "progress_percent",
            "epoch",
            "epochs",
            "speakers",
            "clips",
            "metrics",
            "config",
            "resolved_config",
            "model",
            "error_code",
            "error_message",
            "cancel_requested",
            "attempts",
            "requested_by",
            "created_at",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_metrics(self, run: TrainingRun) -> list[dict[str, Any]]:
        """Return the metrics of each epoch with intervals."""
        return [dict(rounded_throughout(with_intervals(epoch))) for epoch in run.metrics]


class MeasuredOnAnswer(serializers.Serializer):
    """The trials that a calibration rests on."""

    source = serializers.CharField()
    target_trials = serializers.IntegerField()
    impostor_trials = serializers.IntegerField()
    speakers = serializers.IntegerField(help_text="How many speakers these trials claim.")
    strangers = serializers.BooleanField(help_text="Whether none of these speakers trained the model.")


class EvidenceAnswer(MeasuredOnAnswer):
    """What the model's calibration was measured on, and what is missing for the policy's rate."""

    sufficient = serializers.BooleanField(help_text="Whether the model may serve without a forced promotion.")
    target_far = serializers.FloatField(help_text="The policy's false-accept rate for calls without a tier.")
    missing = MissingAnswer(many=True)
    threshold = Probability(
        allow_null=True, help_text="The probability from which a call without a tier is accepted under this model."
    )


class ImportedAnswer(serializers.Serializer):
    """What an imported encoder is, and whose."""

    name = serializers.CharField()
    origin = serializers.CharField(help_text="Where the weights come from.")
    licence = serializers.CharField(help_text="The licence's name.")
    licence_text = serializers.CharField()
    opset = serializers.IntegerField(help_text="The version of ONNX's operators.")
    centred = serializers.BooleanField(help_text="Whether the mean of speech is subtracted from its embeddings.")


class ModelVersionSerializer(AnswerSerializer):
    """A registered model: its metrics, its evidence, and the progress of its promotion."""

    evidence = serializers.SerializerMethodField()
    imported = ImportedAnswer(
        read_only=True, allow_null=True, help_text="Of an encoder that comes from elsewhere; null for a trained one."
    )
    metrics = serializers.SerializerMethodField(
        help_text="Measured on recordings that training held out, of speakers who trained the model. Each rate is a "
        "figure with its 95 % interval and its trials; its `value` is null where fewer than 30 trials stand behind it."
    )
    config = serializers.DictField(
        read_only=True, help_text="The resolved training configuration, or an imported encoder's front end."
    )
    promotion_percent = serializers.SerializerMethodField(help_text="Progress of the current or last promotion.")
    promotion_error = serializers.SerializerMethodField(help_text="Why the last promotion failed; empty otherwise.")
    promotion_requested_by = serializers.SerializerMethodField(help_text="Who asked for that promotion.")

    class Meta:
        model = ModelVersion
        fields = (
            "version",
            "fingerprint",
            "state",
            "calibration_version",
            "evidence",
            "metrics",
            "config",
            "imported",
            "data_hash",
            "promotion_percent",
            "promotion_error",
            "promotion_requested_by",
            "created_at",
            "activated_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.DictField())
    def get_metrics(self, model: ModelVersion) -> dict[str, Any]:
        """Return the model's metrics with intervals."""
        return dict(rounded_throughout(with_intervals(model.metrics)))

    @extend_schema_field(EvidenceAnswer)
    def get_evidence(self, model: ModelVersion) -> dict[str, Any]:
        """Return what the model's calibration was measured on."""
        if "target_far" not in self.context:  # read the policy once for a whole list
            self.context["target_far"] = policies.in_force().verification.target_far
        return dict(EvidenceAnswer(evidence.of(model, self.context["target_far"]).summary()).data)

    def get_promotion_percent(self, model: ModelVersion) -> float:
        """Return the progress of the last promotion in percent; 0 where there was none."""
        promotion = last_promotion(model)
        return rounded(promotion.progress_percent) if promotion else 0.0

    def get_promotion_error(self, model: ModelVersion) -> str:
        """Return the error code of the last promotion."""
        promotion = last_promotion(model)
        return promotion.error_code if promotion else ""

    def get_promotion_requested_by(self, model: ModelVersion) -> str:
        """Return who asked for the last promotion."""
        promotion = last_promotion(model)
        return promotion.requested_by if promotion else ""


class RecalibrationRequest(StrictSerializer):
    """Which trials to fit another calibration on."""

    source = serializers.ChoiceField(
        choices=Recalibration.Source.choices,
        help_text="`cases`: calls of closed review cases. `customers`: enrolled customers who did not train the model. "
        "`frozen_set`: the server's frozen trials.",
    )


class PutIntoForce(StrictSerializer):
    """Why a calibration is to be in force."""

    reason = serializers.CharField(max_length=200, help_text="For the second person, and for the audit trail.")


class PreviewOutcome(serializers.Serializer):
    """What past calls would have got at the threshold of one false-accept rate."""

    rate = serializers.FloatField(help_text="The false-accept rate that the threshold is for.")
    probability = Probability(help_text="The threshold as a probability.")
    accepted = serializers.IntegerField()
    newly_accepted = serializers.IntegerField(help_text="Calls that were refused then.")
    newly_rejected = serializers.IntegerField(help_text="Calls that were accepted then.")
    in_force = serializers.BooleanField(help_text="Whether a call without a tier would get this threshold.")


class PreviewAnswer(serializers.Serializer):
    """What the calibration would have decided on the calls of the last days that their score alone decided."""

    days = serializers.IntegerField()
    total = serializers.IntegerField(help_text="How many such calls there were.")
    accepted = serializers.IntegerField(help_text="How many of them were accepted.")
    outcomes = PreviewOutcome(many=True)


class RecalibrationSerializer(AnswerSerializer):
    """Another calibration of a model: how its fit goes on, what it rests on, and what it would have decided."""

    model = serializers.CharField(source="model_id", read_only=True)
    calibration_version = serializers.CharField(
        source="parameters.version", default="", read_only=True, help_text="What decisions would name; empty before."
    )
    measured_on = serializers.SerializerMethodField()
    found = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="For people.")
    preview = serializers.SerializerMethodField()
    in_force = serializers.BooleanField(read_only=True, help_text="Whether the model's scores are read by it.")

    class Meta:
        model = Recalibration
        fields = (
            "id",
            "model",
            "source",
            "state",
            "phase",
            "progress_percent",
            "target_far",
            "calibration_version",
            "measured_on",
            "found",
            "preview",
            "in_force",
            "error_code",
            "error_message",
            "requested_by",
            "created_at",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields

    @extend_schema_field(MeasuredOnAnswer(allow_null=True))
    def get_measured_on(self, fit: Recalibration) -> dict[str, Any] | None:
        """Return the trials; null before it is fitted."""
        return dict(MeasuredOnAnswer(fit.measured_on).data) if fit.measured_on else None

    @extend_schema_field(PreviewAnswer(allow_null=True))
    def get_preview(self, fit: Recalibration) -> dict[str, Any] | None:
        """Return what past calls would have got; null before it is fitted."""
        return dict(PreviewAnswer(fit.preview).data) if fit.preview else None
