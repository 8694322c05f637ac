"""Training runs, and whose recordings trained a model."""

import uuid

from django.db import models


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
    model = models.OneToOneField(
        "mltraining.ModelVersion", null=True, on_delete=models.PROTECT, related_name="training_run"
    )
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


class TrainingSpeaker(models.Model):
    """That a customer's recordings trained a model: whose erasure makes a retrain due."""

    model = models.ForeignKey("mltraining.ModelVersion", on_delete=models.CASCADE)
    customer = models.ForeignKey("enrollment.Customer", on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "customer"], name="one_part_in_a_model")]
