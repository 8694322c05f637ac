"""Batch enrollments: many customers from one manifest, as a job that survives its worker."""

from typing import Any

from django.conf import settings
from django.db import models

from voiceauth.platform.jobs.models import Job, one_at_a_time


class BatchEnrollment(Job):
    """One job: it SUCCEEDED once the result of every customer is known, also where customers ``failed``.

    A worker carries out a slice of it at a time, so between two slices it is QUEUED again. Who is enrolled when a job
    is cancelled stays enrolled.
    """

    task_name = "batches.run"
    audit_name = "batch_enrollment"
    exclusive = True
    # Enrolling one recording may take two deadlines, and no heartbeat comes meanwhile.
    lost_after_seconds = Job.lost_after_seconds + 2 * settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS

    class Existing(models.TextChoices):
        """What happens to a customer who is ENROLLED already: `SKIP` them, or `OVERWRITE` their recordings."""

        SKIP = "SKIP"
        OVERWRITE = "OVERWRITE"

    existing = models.CharField(max_length=16, choices=Existing, default=Existing.SKIP)
    manifest = models.CharField(max_length=1024, blank=True)  # its location in the storage; blank: uploaded
    folder = models.CharField(max_length=1024, blank=True)  # of import_customers, in place of the storage
    client_token = models.CharField(max_length=64, null=True)  # noqa: DJ001  many have none
    content_hash = models.CharField(max_length=64)  # of the request: a token stands for one content
    manifest_hash = models.CharField(max_length=64, blank=True)  # SHA-256 of the manifest when the job started
    requested_role = models.CharField(max_length=16)
    line = models.PositiveBigIntegerField(default=0)  # of the manifest: all up to it are done
    total = models.PositiveBigIntegerField(default=0)  # customers in the manifest, once it was read
    enrolled = models.PositiveBigIntegerField(default=0)
    enrolling = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)

    class Meta(Job.Meta):
        constraints = [
            models.UniqueConstraint(fields=["requested_by", "client_token"], name="one_batch_a_client_token"),
            one_at_a_time("one_running_batch"),
        ]

    @property
    def done(self) -> int:
        """Count the customers whose result is known."""
        return self.enrolled + self.enrolling + self.skipped + self.failed

    @classmethod
    def waiting(cls) -> models.QuerySet["BatchEnrollment"]:
        """Leave out the jobs on a folder: workers do not see it, and ``import_customers`` carries them out itself."""
        return super().waiting().filter(folder="")

    def on_end(self) -> None:
        """Delete the manifest that was uploaded."""
        UploadedManifest.objects.filter(batch=self).delete()

    def audit_details(self, event: str) -> dict[str, Any]:
        """Add how many customers had which result."""
        if self.is_open:
            return {}
        return {"data": {name: getattr(self, name) for name in ("total", "enrolled", "enrolling", "skipped", "failed")}}


class UploadedManifest(models.Model):
    """A manifest that came with the request, sealed. It is deleted when its job ends."""

    batch = models.OneToOneField(BatchEnrollment, on_delete=models.CASCADE, primary_key=True, related_name="upload")
    content = models.BinaryField()


class BatchResult(models.Model):
    """The result for one customer, which is one line of the manifest."""

    class State(models.TextChoices):
        """What became of one customer of a batch.

        * `ENROLLED`: the customer can be verified.
        * `ENROLLING`: recordings were accepted, and more speech is needed.
        * `SKIPPED`: the customer was enrolled already.
        * `FAILED`: nothing was enrolled; the result's `code` says why.
        """

        ENROLLED = "ENROLLED"
        ENROLLING = "ENROLLING"  # recordings were accepted, more speech is needed
        SKIPPED = "SKIPPED"
        FAILED = "FAILED"

    batch = models.ForeignKey(BatchEnrollment, on_delete=models.CASCADE, related_name="results")
    line = models.PositiveBigIntegerField()  # from 1; of a parquet file the row
    customer_id = models.CharField(max_length=64, blank=True)  # blank where the line holds none
    state = models.CharField(max_length=16, choices=State)
    code = models.CharField(max_length=64, blank=True)
    message = models.CharField(max_length=500, blank=True)
    accepted = models.PositiveIntegerField(default=0)  # recordings
    refused = models.JSONField(default=list)  # recordings: [{location, code, message}]
    speech_seconds = models.FloatField(default=0)  # the customer's net speech by now
    seconds = models.FloatField(default=0)  # that it took

    class Meta:
        ordering = ["line"]
        constraints = [models.UniqueConstraint(fields=["batch", "line"], name="one_result_a_line")]
        indexes = [
            models.Index(fields=["batch", "customer_id"]),
            models.Index(fields=["batch", "state", "line"], name="results_by_state"),
            models.Index(fields=["code", "batch", "line"], name="results_by_code"),
        ]

    def __str__(self) -> str:
        return f"line {self.line} of the {self.batch}"
