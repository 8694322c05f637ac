"""API clients and the answers kept for repeated requests."""

import uuid
from datetime import timedelta

from django.db import models
from django.utils import timezone

from voiceauth.platform.api import roles

EXPIRES_SOON = timedelta(days=30)


class ApiClient(models.Model):
    """A program that calls the API: a teller app, an IVR, a reviewer's tool. Its tokens are stored hashed.

    After a rotation the token before is taken until ``previous_expires_at``.
    """

    class Role(models.TextChoices):
        """What kind of program a client is; `roles` says what each may do."""

        TELLER = "teller"
        IVR = "ivr"
        REVIEWER = "reviewer"
        ADMIN = "admin"
        AUDITOR = "auditor"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=16, choices=Role)
    scopes = models.JSONField(default=list, blank=True)  # the token is limited to these; empty: all of the role's
    rate_limits = models.JSONField(default=dict, blank=True)  # calls a minute by class, in place of the settings'
    token_hash = models.CharField(max_length=64, unique=True, editable=False)  # SHA-256 of 256 random bits
    previous_token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001  most have none
    previous_expires_at = models.DateTimeField(null=True, blank=True)
    issued_by = models.CharField(max_length=128, blank=True)  # who saw the token: created or rotated it
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)  # to the minute

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.role})"

    @property
    def is_authenticated(self) -> bool:
        """Always true, as Django asks of a request's user."""
        return True

    @property
    def has_expired(self) -> bool:
        """Whether the token's lifetime is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def status(self) -> str:
        """revoked, expired, expires soon (time to rotate) or valid."""
        if self.revoked_at is not None:
            return "revoked"
        if self.has_expired:
            return "expired"
        soon = self.expires_at is not None and self.expires_at <= timezone.now() + EXPIRES_SOON
        return "expires soon" if soon else "valid"

    def takes(self, hashed: str) -> bool:
        """Whether the token of this hash is one of the client's that may be used now."""
        if self.revoked_at is not None:
            return False
        if hashed == self.token_hash:
            return not self.has_expired
        until = self.previous_expires_at
        return hashed == self.previous_token_hash and until is not None and until > timezone.now()

    def may(self, scope: str) -> bool:
        """Whether the role has ``scope`` and the token is not limited to others."""
        return scope in roles.scopes_of(self.role) and (not self.scopes or scope in self.scopes)


class IdempotentRequest(models.Model):
    """A request that a client sent with an ``Idempotency-Key``, and the answer it got.

    States::

        reserved      ``result`` is null and ``status`` is 0: an attempt is running, until ``reserved_until``
        carried out   ``result`` is set: the attempt's transaction has committed
        answered      ``status`` and ``body`` are set: a repeat gets this answer again

    ``attempt`` is the fence: an attempt may only commit while the row still carries its number.
    """

    client = models.ForeignKey(ApiClient, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    attempt = models.UUIDField(default=uuid.uuid4)
    reserved_until = models.DateTimeField()
    # The target of the audit event that was committed, for example "decision:<uuid>".
    result = models.CharField(max_length=128, null=True)  # noqa: DJ001  null: nothing is committed yet
    status = models.PositiveSmallIntegerField(default=0)
    body = models.BinaryField(default=b"")  # sealed
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["client", "key"], name="one_request_a_key")]
