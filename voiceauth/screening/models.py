"""Watchlists of fraudsters' voices, the voices of recent calls, and review cases.

Audio and vectors are sealed under the key of the fraudster or of the call; see ``keys``.
"""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.db import models

from voiceauth.platform.storage import AudioField
from voiceauth.platform.vault.fields import WrappedKeyField
from voiceauth.screening import risk


class Watchlist(models.Model):
    """A list of fraudsters. Every call and every enrollment is compared with all lists. There is always a default."""

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
    """A known fraudster's voice, without a name: on one watchlist or several, until it expires."""

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
        return f"Fraudster {str(self.pk)[:8]}"


class FraudsterAudio(models.Model):
    """The recording as uploaded, sealed. A promotion embeds it again under the new model.

    It has a table of its own, so that lists of fraudsters do not load recordings.
    """

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
    """The voice of a call or an enrollment, kept for hours to notice one voice that claims many customers.

    It is sealed under a key derived from the row's salt. Deleting the row deletes the key.
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

        OPEN, ASSIGNED -> ASSIGNED      somebody takes it, or hands it over
        OPEN, ASSIGNED -> CLOSED        with a resolution and a comment
        CLOSED -> OPEN                  reopened with a reason; it has no resolution until it is closed again

    The next calibration learns from the resolution of a closed case. ``evidence`` is a list of JSON objects, the first
    one and the latest: at, reason, score, decision_id or sample_id, and so on.
    """

    class Kind(models.TextChoices):
        """What is suspicious.

        * `KNOWN_FRAUDSTER`: a call in the voice of a fraudster on a watchlist.
        * `WATCHLIST_ENROLLMENT`: an enrollment in such a voice.
        * `REPLAY`: a recording that was heard before.
        * `VELOCITY`: one voice that claims to be many customers.
        * `DUPLICATE_VOICE`: a voice that is enrolled under another customer.
        """

        KNOWN_FRAUDSTER = risk.KNOWN_FRAUDSTER  # a call in the voice of a fraudster on a watchlist
        WATCHLIST_ENROLLMENT = "WATCHLIST_ENROLLMENT"  # an enrollment in such a voice
        REPLAY = risk.REPLAY  # a recording that was heard before
        VELOCITY = risk.VELOCITY  # one voice that claims to be many customers
        DUPLICATE_VOICE = risk.DUPLICATE_VOICE  # a voice that is enrolled under another customer

    OWN_VOICE = (Kind.REPLAY,)  # cases in which the voice is the customer's own, whoever played it

    class State(models.TextChoices):
        """Where a case stands: `OPEN`, `ASSIGNED` to somebody, or `CLOSED` with a resolution."""

        OPEN = "OPEN"
        ASSIGNED = "ASSIGNED"
        CLOSED = "CLOSED"

    class Resolution(models.TextChoices):
        """How a case ended: `CONFIRMED_FRAUD`, `FALSE_ALARM` or `INCONCLUSIVE`."""

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
    hits = models.PositiveIntegerField(default=1)  # how many pieces of evidence there were
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
        indexes = [
            models.Index(fields=["state", "-number"]),
            models.Index(fields=["customer_id", "-number"]),
            models.Index(fields=["assigned_to", "-number"], name="cases_by_person"),
            models.Index(fields=["kind", "subject"], name="cases_by_subject"),
            GinIndex(fields=["evidence"], opclasses=["jsonb_path_ops"], name="cases_by_evidence"),
        ]
        permissions = [("handle_reviewcase", "Can assign, comment on, close and reopen review cases")]

    def __str__(self) -> str:
        return f"Case {self.number}"


class CaseComment(models.Model):
    """What somebody wrote about a case: while working on it, on closing it, or as the reason to reopen it."""

    case = models.ForeignKey(ReviewCase, on_delete=models.CASCADE, related_name="comments")
    text = models.CharField(max_length=2000)
    author = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"Comment by {self.author} on case {self.case_id}"
