"""Where webhooks go, and each delivery of one."""

import uuid

from django.db import models


class WebhookEndpoint(models.Model):
    """An address that is told of events. Its secret is derived from the service's root key, and stored nowhere."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField(max_length=500)
    events = models.JSONField(default=list)  # types of ``events``
    secret_number = models.PositiveIntegerField(default=1)  # grows with each rotation
    created_by = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        permissions = [("manage_webhookendpoint", "Can create, test, rotate and delete webhooks")]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint.

    ``event_id`` stays the same when the event is sent again, so that a receiver can tell what it has already. An
    attempt moves ``next_attempt_at`` before it begins: a worker that dies leaves the delivery to the next attempt.
    """

    class State(models.TextChoices):
        """Where a delivery stands: `PENDING`, `DELIVERED`, or `FAILED` after the last attempt."""

        PENDING = "PENDING"
        DELIVERED = "DELIVERED"
        FAILED = "FAILED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.UUIDField(default=uuid.uuid4)
    type = models.CharField(max_length=64)
    body = models.TextField()  # the JSON text that is signed and sent
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)  # of the latest answer
    error = models.CharField(max_length=200, blank=True)  # of the latest attempt
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=models.Q(state="PENDING"), name="webhooks_that_wait"),
            models.Index(fields=["state", "-created_at"], name="deliveries_by_state"),
            models.Index(fields=["type", "-created_at"], name="deliveries_by_type"),
            models.Index(fields=["event_id"], name="deliveries_by_event"),
        ]

    def __str__(self) -> str:
        return f"{self.type} of {self.created_at:%d %b %Y, %H:%M:%S}"
