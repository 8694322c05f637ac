"""The audit trail: append-only and hash-chained.

Events are written in lanes, so that writers need not wait for each other. Each lane is a chain, and the chains are
woven together: an event names the last events of its own lane and of all others (``follows``) and carries a digest of
their hashes (``previous_hash``). Its own ``hash`` is an HMAC-SHA-256 over all that, under a key that the database does
not hold. So whatever was committed before an event cannot be changed, removed or replaced without breaking it.
Triggers refuse UPDATE, DELETE and TRUNCATE. ``LaneHead`` says where each lane ends, authenticated the same way, so that
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

    # In the order of writing. A transaction that is rolled back leaves its number unused.
    sequence = models.BigIntegerField(primary_key=True)
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
    lane = models.SmallIntegerField(null=True)  # from 1; none: a row of the single chain that there was before
    follows = models.JSONField(null=True)  # the last rows of all lanes, its own lane's first
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

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


class LaneHead(models.Model):
    """The end of a lane, for which the next event of the lane puts in another row: none is ever updated.

    So the newest is found at once by the index, however many dead rows there are while a backup keeps PostgreSQL from
    removing them.
    """

    pk = models.CompositePrimaryKey("lane", "sequence")
    lane = models.SmallIntegerField()
    sequence = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    seal = models.CharField(max_length=64)


class ChainHead(models.Model):
    """The end of the single chain that there was before the lanes, in one row (id 1)."""

    sequence = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    seal = models.CharField(max_length=64)
