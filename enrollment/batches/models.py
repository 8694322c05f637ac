"""Batch enrollments: many customers from one manifest, as a job that survives its worker."""

import uuid

from django.db import models


class BatchEnrollment(models.Model):
    """One job.

    States::

        SUBMITTED   -> IN_PROGRESS            a worker began; from then on it may change hands (``held``)
        IN_PROGRESS -> COMPLETED              every customer is ENROLLED, ENROLLING or SKIPPED
        IN_PROGRESS -> COMPLETED_WITH_ERRORS  at least one customer FAILED; the results say which, and why
        IN_PROGRESS -> FAILED                 the manifest cannot be used, or worker after worker died
        SUBMITTED or IN_PROGRESS -> CANCELLED who is enrolled by then stays enrolled
    """

    class State(models.TextChoices):
        SUBMITTED = "SUBMITTED"
        IN_PROGRESS = "IN_PROGRESS"
        COMPLETED = "COMPLETED"
        COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
        FAILED = "FAILED"
        CANCELLED = "CANCELLED"

    class Existing(models.TextChoices):
        """What becomes of a customer who is ENROLLED already."""

        SKIP = "SKIP"
        OVERWRITE = "OVERWRITE"

    OPEN = (State.SUBMITTED, State.IN_PROGRESS)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=24, choices=State, default=State.SUBMITTED)
    existing = models.CharField(max_length=16, choices=Existing, default=Existing.SKIP)
    manifest = models.CharField(max_length=1024, blank=True)  # its location in the storage; blank: uploaded
    folder = models.CharField(max_length=1024, blank=True)  # of import_customers, in place of the storage
    client_token = models.CharField(max_length=64, null=True)  # noqa: DJ001  many have none
    content_hash = models.CharField(max_length=64)  # of what was asked for: a token is given once
    manifest_hash = models.CharField(max_length=64, blank=True)  # SHA-256 of the manifest that was begun with
    requested_by = models.CharField(max_length=128)
    requested_role = models.CharField(max_length=16)
    cancel_requested = models.BooleanField(default=False)
    held = models.BooleanField(default=False)  # a worker is at it
    attempts = models.PositiveIntegerField(default=0)  # claims; a worker that lost its claim sees another number
    lost_workers = models.PositiveSmallIntegerField(default=0)  # in a row, without a customer done
    sent_at = models.DateTimeField(null=True)  # when the queue was last told
    heartbeat_at = models.DateTimeField(null=True)
    line = models.PositiveBigIntegerField(default=0)  # of the manifest: all up to it are done
    total = models.PositiveBigIntegerField(default=0)  # customers in the manifest, once it was read
    enrolled = models.PositiveBigIntegerField(default=0)
    enrolling = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["requested_by", "client_token"], name="one_batch_a_client_token"),
            models.UniqueConstraint(fields=["held"], condition=models.Q(held=True), name="one_batch_at_a_time"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def done(self) -> int:
        """Customers whose outcome is known."""
        return self.enrolled + self.enrolling + self.skipped + self.failed

    @property
    def progress_percent(self) -> float:
        return round(100 * self.done / self.total, 1) if self.total else 0.0


class UploadedManifest(models.Model):
    """A manifest that came with the request, sealed; deleted when its job ends."""

    batch = models.OneToOneField(BatchEnrollment, on_delete=models.CASCADE, primary_key=True, related_name="upload")
    content = models.BinaryField()


class BatchResult(models.Model):
    """What became of one customer, a line of the manifest."""

    class Outcome(models.TextChoices):
        ENROLLED = "ENROLLED"
        ENROLLING = "ENROLLING"  # recordings were accepted, more speech is needed
        SKIPPED = "SKIPPED"
        FAILED = "FAILED"

    batch = models.ForeignKey(BatchEnrollment, on_delete=models.CASCADE, related_name="results")
    line = models.PositiveBigIntegerField()  # from 1; of a parquet file the row
    customer_id = models.CharField(max_length=64, blank=True)  # blank where the line holds none
    outcome = models.CharField(max_length=16, choices=Outcome)
    code = models.CharField(max_length=64, blank=True)
    message = models.CharField(max_length=500, blank=True)
    accepted = models.PositiveIntegerField(default=0)  # recordings
    refused = models.JSONField(default=list)  # recordings: [{location, code, message}]
    speech_seconds = models.FloatField(default=0)  # the customer's net speech by now
    seconds = models.FloatField(default=0)  # that it took

    class Meta:
        ordering = ["line"]
        constraints = [models.UniqueConstraint(fields=["batch", "line"], name="one_result_a_line")]
        indexes = [models.Index(fields=["batch", "customer_id"])]
