"""Watchlists of fraudsters' voices, the voices of recent calls, and the cases that a reviewer closes.

Audio and vectors are sealed under a key of the fraudster's, or of the call's (``keys``).
"""

import uuid

from django.db import models

from voiceauth.platform.storage import AudioField
from voiceauth.platform.vault.fields import WrappedKeyField
from voiceauth.screening import risk


class Watchlist(models.Model):
    """Fraudsters whom every call and every enrollment is compared with. The default one is always there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.CharField(max_length=500, blank=True)
    is_default = models.BooleanField(default=False)
    created_by = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-is_default", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_watchlist"
            )
        ]
        permissions = [("manage_watchlist", "Can add voices to watchlists and erase them")]

    def __str__(self) -> str:
        return self.name


class Fraudster(models.Model):
    """A known fraudster's voice, under no name: on one watchlist or several, until it expires."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    watchlists = models.ManyToManyField(Watchlist, related_name="fraudsters")
    note = models.CharField(max_length=500, blank=True)
    source = models.CharField(max_length=64)  # "upload", "decision:<id>"
    data_key = WrappedKeyField("fraudster")
    speech_seconds = models.FloatField()  # net speech of the recording
    created_by = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"Voice {str(self.pk)[:8]}"


class FraudsterAudio(models.Model):
    """The recording as uploaded, sealed: a promotion embeds it anew. Apart, so that lists stay light."""

    fraudster = models.OneToOneField(Fraudster, on_delete=models.CASCADE, primary_key=True, related_name="audio")
    content = AudioField()


class FraudsterVoiceprint(models.Model):
    """A fraudster's voiceprint under one model, sealed float32. Every write takes the next ``revision``."""

    fraudster = models.ForeignKey(Fraudster, on_delete=models.CASCADE, related_name="voiceprints")
    model_fingerprint = models.CharField(max_length=64)
    content = models.BinaryField()
    revision = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["fraudster", "model_fingerprint"], name="one_fraudster_voiceprint_a_model")
        ]
        indexes = [models.Index(fields=["model_fingerprint", "revision"])]


class RecentVoice(models.Model):
    """What a call or an enrollment sounded like, kept for hours: one voice that claims many customers shows.

    Sealed under a key that is derived from the row's salt, and goes with it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer_id = models.CharField(max_length=64, db_index=True)  # the claimed one, as text
    model_fingerprint = models.CharField(max_length=64)
    salt = models.BinaryField()
    content = models.BinaryField()
    speech_seconds = models.FloatField()
    revision = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        indexes = [models.Index(fields=["model_fingerprint", "revision"])]


class ReviewCase(models.Model):
    """A suspicion that a person looks into.

    States::

        OPEN -> ASSIGNED -> CLOSED      an open one may be closed at once; a closed one stays closed

    Evidence is a list of JSON objects, the first one and the latest: at, reason, score, decision_id or sample_id, …
    """

    class Kind(models.TextChoices):
        KNOWN_FRAUDSTER = risk.KNOWN_FRAUDSTER  # in a call
        WATCHLIST_ENROLLMENT = "WATCHLIST_ENROLLMENT"  # a known fraudster, in an enrollment
        REPLAY = risk.REPLAY
        VELOCITY = risk.VELOCITY
        DUPLICATE_VOICE = risk.DUPLICATE_VOICE

    class State(models.TextChoices):
        OPEN = "OPEN"
        ASSIGNED = "ASSIGNED"
        CLOSED = "CLOSED"

    class Resolution(models.TextChoices):
        CONFIRMED_FRAUD = "CONFIRMED_FRAUD"
        FALSE_ALARM = "FALSE_ALARM"
        INCONCLUSIVE = "INCONCLUSIVE"

    number = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=24, choices=Kind)
    customer_id = models.CharField(max_length=64, blank=True)  # the claimed one, as text: it outlives the customer
    subject = models.CharField(max_length=64, blank=True)  # the fraudster, or the other customer
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    resolution = models.CharField(max_length=16, choices=Resolution, blank=True)
    evidence = models.JSONField(default=list)
    hits = models.PositiveIntegerField(default=1)  # how often it was evidenced
    assigned_to = models.CharField(max_length=128, blank=True)
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=128, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "customer_id", "subject"],
                condition=~models.Q(state="CLOSED"),
                name="one_open_case_a_subject",
            )
        ]
        indexes = [models.Index(fields=["state", "-number"]), models.Index(fields=["customer_id", "-number"])]
        permissions = [("handle_reviewcase", "Can assign, comment and close review cases")]

    def __str__(self) -> str:
        return f"Case {self.number}"


class CaseComment(models.Model):
    case = models.ForeignKey(ReviewCase, on_delete=models.CASCADE, related_name="comments")
    text = models.CharField(max_length=2000)
    author = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
