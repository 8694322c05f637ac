"""Training runs, promotions, and whose recordings trained a model."""

from typing import Any

from django.db import models

from mltraining.models import ModelVersion
from voiceauth.platform.jobs.models import Job, one_at_a_time
from voiceauth.retraining import evidence


class TrainingRun(Job):
    """One retrain on what customers have enrolled. It resumes from its last checkpoint."""

    task_name = "retraining.run_training"
    audit_name = "training_run"
    exclusive = True

    config = models.JSONField(default=dict)  # the overrides of the request: {"training.epochs": 15}
    resolved_config = models.JSONField(default=dict)  # what the run trains with, as the request resolved it
    epoch = models.PositiveIntegerField(default=0)
    epochs = models.PositiveIntegerField(default=0)
    speakers = models.PositiveIntegerField(default=0)
    clips = models.PositiveIntegerField(default=0)
    metrics = models.JSONField(default=list)  # one object an epoch
    model = models.OneToOneField(ModelVersion, null=True, on_delete=models.PROTECT, related_name="training_run")

    class Meta(Job.Meta):
        constraints = [one_at_a_time("one_running_training")]

    def audit_details(self, event: str) -> dict[str, Any]:
        """Add the model that came of the run."""
        if self.model is None:
            return {}
        return {"model_version": self.model.version, "data": {"fingerprint": self.model.fingerprint}}


class Promotion(Job):
    """Putting one model into service. The model is PROMOTING for as long as its promotion is open."""

    task_name = "retraining.run_promotion"
    audit_name = "promotion"
    EVENTS = {"queued": "model.promotion_requested", "succeeded": "model.promoted"}

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="promotions")
    replaced = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    forced = models.BooleanField(default=False)  # without enough evidence, or against the frozen set
    reason = models.CharField(max_length=200, blank=True)  # why it is forced

    def on_end(self) -> None:
        """Return the model to where it was, unless it went into service."""
        if self.state != self.State.SUCCEEDED:
            self.model.state = ModelVersion.State.RETIRED if self.model.activated_at else ModelVersion.State.CANDIDATE
            self.model.save(update_fields=["state"])

    def audit_action(self, event: str) -> str:
        """Name the events of a promotion as events of its model."""
        return self.EVENTS.get(event, f"model.promotion_{event}")

    def audit_target(self) -> str:
        """Return the model."""
        return f"model:{self.model_id}"

    def audit_details(self, event: str) -> dict[str, Any]:
        """Add who asked for it, on which evidence, whether and why it is forced, and what the switch changed."""
        said: dict[str, Any] = {"requested_by": self.requested_by}
        if event in self.EVENTS:
            said["evidence"] = evidence.of(self.model).summary()
        if self.forced:
            said |= {"force": True, "reason": self.reason}
        details: dict[str, Any] = {"model_version": self.model_id, "data": said}
        if event == "succeeded":
            details |= {"before": {"active": self.replaced_id}, "after": {"active": self.model_id}}
        return details


class Recalibration(Job):
    """A calibration that a worker fitted for a model, and what it would have decided on past calls.

    SUCCEEDED means that it is fitted. It is in force only once a second person has approved it
    (``recalibration_services.request_force``).
    """

    class Source(models.TextChoices):
        """Which trials a calibration is fitted on."""

        CASES = "cases", "calls of closed review cases"
        CUSTOMERS = "customers", "enrolled customers who did not train the model"
        FROZEN_SET = "frozen_set", "the frozen set"

    task_name = "retraining.run_recalibration"
    audit_name = "recalibration"

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="recalibrations")
    source = models.CharField(max_length=16, choices=Source)
    target_far = models.FloatField(null=True)  # that it was fitted for: the policy's, of calls without a tier
    parameters = models.JSONField(default=dict)  # of the fitted calibration; ``speech.scoring.Calibration.to_dict``
    measured_on = models.JSONField(default=dict)  # ``mltraining.calibrations.MeasuredOn``
    found = models.JSONField(default=list)  # what was measured, in sentences
    preview = models.JSONField(default=dict)  # ``recalibration_job.past_calls``

    class Meta(Job.Meta):
        pass

    @property
    def in_force(self) -> bool:
        """Whether the model's scores are read by it."""
        return self.state == self.State.SUCCEEDED and self.parameters["version"] == self.model.calibration_version

    def audit_details(self, event: str) -> dict[str, Any]:
        """Add the model, the source, and which calibration was fitted."""
        version = self.parameters.get("version", "")
        return {"model_version": self.model_id, "data": {"source": self.source, "calibration_version": version}}


class TrainingSpeaker(models.Model):
    """That a customer's recordings trained a model: erasing that customer makes a retrain due."""

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE)
    customer = models.ForeignKey("enrollment.Customer", on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "customer"], name="one_part_in_a_model")]
