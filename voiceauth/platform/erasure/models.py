"""What is left to erase of a voice whose rows and key are gone already."""

from typing import Any, ClassVar

from django.db import models

from voiceauth.platform.jobs.models import Job


class Erasure(Job):
    """The erasure of a voice's files. Once it has SUCCEEDED it is the receipt: nothing is left.

    It is tried again until it succeeds (BIPA §15, GDPR Art. 17): a failure leaves it QUEUED with its ``error_code``.
    """

    task_name: ClassVar[str] = "erasure.run"
    audit_name: ClassVar[str] = "erasure"
    must_succeed: ClassVar[bool] = True

    cause = models.CharField(max_length=64)  # the event that began it: "customer.erased", "consent.withdrawn", …
    subject = models.UUIDField()  # whose voice it is, by the number of their row: copies are named by it
    customer_id = models.CharField(max_length=64, blank=True, db_index=True)  # as text: it outlives the customer
    counts = models.JSONField(default=dict)  # rows that were deleted: {"samples": 3, "voiceprints": 1, …}
    recordings = models.JSONField(default=list)  # names in the audio storage; none once they are deleted

    class Meta(Job.Meta):
        indexes = [
            models.Index(fields=["-created_at"], name="erasures_by_time"),
            models.Index(fields=["cause", "-created_at"], name="erasures_by_cause"),
        ]

    def audit_details(self, event: str) -> dict[str, Any]:
        """Tell the trail whose voice it is, why, and what was deleted."""
        return {"customer_id": self.customer_id, "data": {"cause": self.cause, **self.counts}}
