"""Requests for a second person's approval.

REQUESTED → EXECUTED              approved, and carried out in the same transaction
REQUESTED → APPROVED → EXECUTED   approved, then carried out once by the one who asked
REQUESTED → REJECTED
REQUESTED, APPROVED → EXPIRED     at ``expires_at``
"""

import uuid

from django.db import models


class Approval(models.Model):
    """A request that a second person approves or rejects."""

    class State(models.TextChoices):
        """Where a request stands.

        * `REQUESTED`: a second person must decide.
        * `APPROVED`: whoever asked may now carry it out.
        * `REJECTED`: somebody rejected it, or it was taken back.
        * `EXPIRED`: its time is over.
        * `EXECUTED`: it was carried out.
        """

        REQUESTED = "REQUESTED"
        APPROVED = "APPROVED"
        REJECTED = "REJECTED"
        EXPIRED = "EXPIRED"
        EXECUTED = "EXECUTED"

    OPEN = (State.REQUESTED, State.APPROVED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.CharField(max_length=64)  # a name of ``registry``
    parameters = models.JSONField()
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=16, choices=State, default=State.REQUESTED)
    requested_by = models.CharField(max_length=128)
    requested_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.CharField(max_length=128, blank=True)
    decided_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-requested_at"]
        indexes = [models.Index(fields=["state", "expires_at"], name="approval_state_expires")]
        permissions = [("decide_approval", "Can approve and reject what others ask for")]

    def __str__(self) -> str:
        return f"{self.action} of {self.requested_by}"
