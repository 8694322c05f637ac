"""The audit trail: append-only and hash-chained.

Row n carries ``previous_hash`` (the hash of row n-1) and ``hash``, an HMAC-SHA-256 over its own content
and ``previous_hash`` under a key that the database does not hold. Triggers refuse UPDATE, DELETE and
TRUNCATE. ``ChainHead`` holds the number and hash of the last row, authenticated the same way, so that
a cut-off tail shows.
"""

from django.db import models


class AuditEvent(models.Model):
    """One event: who did what to whom, when and with which outcome. A row is never changed."""

    class Outcome(models.TextChoices):
        """How it ended: `success`; `refused`: the caller was told no; `failed`: the service could not answer."""

        SUCCESS = "success"
        REFUSED = "refused"  # the caller was told no
        FAILED = "failed"  # we could not answer

    sequence = models.BigIntegerField(primary_key=True)  # gapless, from 1
    occurred_at = models.DateTimeField()
    action = models.CharField(max_length=64)  # "enrollment.accepted", "decision.made", …
    outcome = models.CharField(max_length=8, choices=Outcome)
    actor = models.CharField(max_length=128)  # name as text: it outlives the account
    role = models.CharField(max_length=16)
    ip_address = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=36, blank=True)
    customer_id = models.CharField(max_length=64, blank=True)
    target = models.CharField(max_length=128, blank=True)  # "decision:<uuid>", "model:<version>", …
    model_version = models.CharField(max_length=64, blank=True)
    threshold = models.FloatField(null=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    data = models.JSONField(default=dict)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["-sequence"]
        indexes = [
            models.Index(fields=["customer_id", "-sequence"]),
            models.Index(fields=["action", "-sequence"]),
            models.Index(fields=["occurred_at"]),
            models.Index(fields=["actor", "-sequence"], name="events_by_actor"),
            models.Index(fields=["role", "-sequence"], name="events_by_role"),
            models.Index(fields=["request_id"], condition=~models.Q(request_id=""), name="events_by_request"),
            models.Index(fields=["target", "-sequence"], condition=~models.Q(target=""), name="events_by_target"),
            models.Index(
                fields=["outcome", "-sequence"], condition=~models.Q(outcome="success"), name="events_that_failed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action} {self.outcome}"


class ChainHead(models.Model):
    """The end of the trail, in one row (id 1). Its lock makes writers wait for each other."""

    sequence = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    seal = models.CharField(max_length=64)
