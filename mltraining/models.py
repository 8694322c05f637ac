"""Training runs and the registry of models."""

import uuid

from django.db import models


class ModelVersion(models.Model):
    """A trained encoder with its calibration. Holds no customer's row: voiceprints live in ``enrollment``.

    States::

        CANDIDATE -> PROMOTING -> ACTIVE -> RETIRED
        RETIRED   -> PROMOTING (the way back)
        PROMOTING -> CANDIDATE or RETIRED where re-embedding fails, or the frozen set refuses (``promotion_error``)
    """

    class State(models.TextChoices):
        CANDIDATE = "candidate"
        PROMOTING = "promoting"
        ACTIVE = "active"
        RETIRED = "retired"

    version = models.CharField(max_length=64, primary_key=True)  # "20261124-203015-3fa9c1"
    fingerprint = models.CharField(max_length=64, unique=True)  # SHA-256 over weights and configuration
    state = models.CharField(max_length=16, choices=State, default=State.CANDIDATE)
    threshold = models.FloatField()  # on the probability
    calibration_version = models.CharField(max_length=64)
    metrics = models.JSONField(default=dict)
    config = models.JSONField(default=dict)  # resolved training configuration
    data_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    activated_at = models.DateTimeField(null=True)
    promotion_percent = models.FloatField(default=0)
    promotion_error = models.CharField(max_length=64, blank=True)
    promotion_requested_by = models.CharField(max_length=128, blank=True)
    promotion_forced = models.BooleanField(default=False)  # whatever the frozen set says
    promotion_heartbeat_at = models.DateTimeField(null=True)
    erased_speakers = models.PositiveIntegerField(default=0)  # trained on them, and they are erased: retrain

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="active"), name="one_active_model"),
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="promoting"), name="one_promotion"),
        ]

    def __str__(self) -> str:
        return self.version


class Calibration(models.Model):
    """A calibration that was fitted for a registered model, and the threshold chosen on it.

    A model without an active one is calibrated as its ``pipeline.json`` says. Rows are never changed but for
    ``active``: they tell what a decision's ``calibration_version`` was.
    """

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="calibrations")
    version = models.CharField(max_length=64)  # hash of the parameters, as decisions keep it
    parameters = models.JSONField()  # slope, offset, prior, weights, version
    threshold = models.FloatField()  # on the probability
    target_far = models.FloatField()  # the false-accept rate asked for
    target_trials = models.PositiveIntegerField()
    impostor_trials = models.PositiveIntegerField()
    source = models.CharField(max_length=500)  # which trials it was fitted on, for people
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


class TrainingRun(models.Model):
    """One retrain, a state machine that survives its worker.

    States::

        QUEUED  -> RUNNING    a worker claimed it
        RUNNING -> QUEUED     its worker died (no heartbeat) or shuts down; it resumes from its last checkpoint
        RUNNING -> SUCCEEDED  a candidate model is registered
        RUNNING -> FAILED     an expected failure, with ``error_code`` (too_few_speakers, worker_lost, …)
        RUNNING -> ERRORED    a bug; the trace is in the worker's log
        QUEUED or RUNNING -> CANCELLED
    """

    class State(models.TextChoices):
        QUEUED = "QUEUED"
        RUNNING = "RUNNING"
        SUCCEEDED = "SUCCEEDED"
        FAILED = "FAILED"
        ERRORED = "ERRORED"
        CANCELLED = "CANCELLED"

    TERMINAL = (State.SUCCEEDED, State.FAILED, State.ERRORED, State.CANCELLED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    config = models.JSONField(default=dict)  # overrides asked for: {"training.epochs": 15}
    resolved_config = models.JSONField(default=dict)
    requested_by = models.CharField(max_length=128)
    cancel_requested = models.BooleanField(default=False)
    attempts = models.PositiveIntegerField(default=0)  # claims; a worker that lost its claim sees another number
    lost_workers = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)  # when the queue was last told
    progress_percent = models.FloatField(default=0)
    phase = models.CharField(max_length=32, blank=True)  # collecting, decoding, training, …, registering
    epoch = models.PositiveIntegerField(default=0)
    epochs = models.PositiveIntegerField(default=0)
    speakers = models.PositiveIntegerField(default=0)
    clips = models.PositiveIntegerField(default=0)
    metrics = models.JSONField(default=list)  # one object an epoch
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    model = models.OneToOneField(ModelVersion, null=True, on_delete=models.PROTECT, related_name="training_run")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="RUNNING"), name="one_running_training")
        ]

    def __str__(self) -> str:
        return str(self.id)
