"""The registry of models and their calibrations."""

from django.db import models


class ModelVersion(models.Model):
    """An encoder, trained here or imported, with its calibration.

    It holds no customer's row: voiceprints live in ``enrollment``.

    States::

        CANDIDATE -> PROMOTING -> ACTIVE -> RETIRED
        RETIRED   -> PROMOTING (the way back)
        PROMOTING -> CANDIDATE or RETIRED where the promotion fails; ``retraining.models.Promotion`` says why
    """

    class State(models.TextChoices):
        """Where a model stands.

        * `CANDIDATE`: registered, and never in service.
        * `PROMOTING`: voiceprints are being made under it.
        * `ACTIVE`: in service.
        * `RETIRED`: was in service; it can be promoted again.
        """

        CANDIDATE = "CANDIDATE"
        PROMOTING = "PROMOTING"
        ACTIVE = "ACTIVE"
        RETIRED = "RETIRED"

    version = models.CharField(max_length=64, primary_key=True)  # "20261124-203015-3fa9c1"
    fingerprint = models.CharField(max_length=64, unique=True)  # SHA-256 over weights and configuration
    state = models.CharField(max_length=16, choices=State, default=State.CANDIDATE)
    calibration_version = models.CharField(max_length=64)
    metrics = models.JSONField(default=dict)
    config = models.JSONField(default=dict)  # resolved training configuration, or an imported encoder's front end
    imported = models.JSONField(null=True)  # name, origin, licence, licence_text, opset, centred; null: trained here
    data_hash = models.CharField(max_length=64, blank=True)  # of the training data; empty where they are not known
    created_at = models.DateTimeField(auto_now_add=True)
    activated_at = models.DateTimeField(null=True)
    erased_speakers = models.PositiveIntegerField(default=0)  # trained on them, and they are erased: retrain

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="ACTIVE"), name="one_active_model"),
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="PROMOTING"), name="one_promotion"),
        ]

    def __str__(self) -> str:
        return self.version


class Calibration(models.Model):
    """A calibration of a registered model, and the trials that it was fitted on and its thresholds measured on.

    A model is registered with the calibration of its ``pipeline.json``; ``manage.py calibrate`` puts another one into
    force. Rows never change except for ``active``, so a decision's ``calibration_version`` can always be explained.
    """

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="calibrations")
    version = models.CharField(max_length=64)  # hash of the parameters, as decisions keep it
    parameters = models.JSONField()  # slope, offset, prior, weights, thresholds by false-accept rate, version
    target_trials = models.PositiveIntegerField()  # different recordings; the same one through two codecs counts once
    impostor_trials = models.PositiveIntegerField()
    speakers = models.PositiveIntegerField()  # claimed in these trials
    strangers = models.BooleanField()  # whether none of these speakers trained the model
    source = models.CharField(max_length=500)  # where the trials come from, for people
    distribution = models.JSONField(default=dict)  # of the trials' log-likelihood ratios; empty where it was not kept
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=128)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["model"], condition=models.Q(active=True), name="one_active_calibration")
        ]

    def __str__(self) -> str:
        return f"{self.model_id} {self.version}"
