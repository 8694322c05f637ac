"""Decisions: what was asked, what was answered, and everything that the answer rested on."""

import uuid

from django.db import models


class Decision(models.Model):
    class Kind(models.TextChoices):
        VERIFY = "verify"
        IDENTIFY = "identify"

    class Outcome(models.TextChoices):
        ACCEPT = "ACCEPT"  # verify
        REJECT = "REJECT"  # verify
        MATCH = "MATCH"  # identify
        NO_MATCH = "NO_MATCH"  # identify
        NOT_ENOUGH_SPEECH = "NOT_ENOUGH_SPEECH"
        INCONCLUSIVE = "INCONCLUSIVE"  # with reasons: TOO_NOISY, CLIPPED
        SPEAKER_NOT_ENROLLED = "SPEAKER_NOT_ENROLLED"
        SPEAKER_OPTED_OUT = "SPEAKER_OPTED_OUT"
        SPEAKER_EXPIRED = "SPEAKER_EXPIRED"
        SPEAKER_LOCKED = "SPEAKER_LOCKED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=Kind)
    customer_id = models.CharField(max_length=64, blank=True)  # as text: it outlives the customer
    decision = models.CharField(max_length=24, choices=Outcome)
    reasons = models.JSONField(default=list)
    probability = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    log_likelihood_ratio = models.FloatField(null=True)  # natural logarithm
    score = models.FloatField(null=True)  # cosine, normalised where the model has a cohort
    candidates = models.JSONField(default=list)  # identify: ranked [{customer_id, probability, …}]
    speech_seconds = models.FloatField(null=True)  # of the call, net
    enrollment_speech_seconds = models.FloatField(null=True)  # verify: net, behind the claimed voiceprint
    snr_db = models.FloatField(null=True)
    clipping_ratio = models.FloatField(null=True)
    model_version = models.CharField(max_length=64, blank=True)
    model_fingerprint = models.CharField(max_length=64, blank=True)
    calibration_version = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=128)
    request_id = models.CharField(max_length=36, blank=True)
    scoring_milliseconds = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["customer_id", "-created_at"]),
            models.Index(fields=["decision", "-created_at"]),
            models.Index(fields=["model_version", "-created_at"]),
            models.Index(fields=["-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.decision} {self.id}"


class CallAudio(models.Model):
    """The audio of a verification, sealed under the claimed customer's data key, kept for a while."""

    decision = models.OneToOneField(Decision, on_delete=models.CASCADE, primary_key=True, related_name="audio")
    customer = models.ForeignKey("enrollment.Customer", on_delete=models.CASCADE)  # erased with the customer
    content = models.BinaryField()
    expires_at = models.DateTimeField(db_index=True)
