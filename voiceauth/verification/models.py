"""Decisions: what was asked, what was answered, and everything that the answer rested on."""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.db import models

from mltraining.models import ModelVersion
from voiceauth.platform.storage import AudioField


class Decision(models.Model):
    """One verification or identification. It is never changed, and it outlives the customer."""

    class Kind(models.TextChoices):
        """Which question was asked: `verify` a claimed customer, or `identify` a voice."""

        VERIFY = "verify"
        IDENTIFY = "identify"

    class Result(models.TextChoices):
        """What was decided about a call.

        * `ACCEPT`, `REJECT`: verification: the voice is, or is not, the claimed customer's.
        * `MATCH`, `NO_MATCH`: identification: the voice is, or is not, that of a customer.
        * `NOT_ENOUGH_SPEECH`: the call holds too little speech to decide.
        * `INCONCLUSIVE`: the audio is not good enough to decide; `reasons` says why.
        * `SPEAKER_NOT_ENROLLED`, `SPEAKER_OPTED_OUT`, `SPEAKER_EXPIRED`: there is no voice to compare with.
        * `SPEAKER_LOCKED`: a reviewer must unlock the customer first. Callers are told something else.
        * `TOO_MANY_ATTEMPTS`: refused too often in a row. Callers are told something else.
        """

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
        TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"  # refused too often in a row, and not enough time has passed

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=Kind)
    customer_id = models.CharField(max_length=64, blank=True)  # as text: it outlives the customer
    decision = models.CharField(max_length=24, choices=Result)
    reasons = models.JSONField(default=list)
    probability = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    log_likelihood_ratio = models.FloatField(null=True)  # natural logarithm
    score = models.FloatField(null=True)  # cosine, normalised where the model has a cohort
    candidates = models.JSONField(default=list)  # identify: ranked [{customer_id, probability, …}]
    left_out = models.JSONField(default=list)  # identify: the candidates who were not compared, as no voice is enrolled
    speech_seconds = models.FloatField(null=True)  # of the call, net
    enrollment_speech_seconds = models.FloatField(null=True)  # verify: net, behind the claimed voiceprint
    snr_db = models.FloatField(null=True)
    clipping_ratio = models.FloatField(null=True)
    model_version = models.CharField(max_length=64, blank=True)
    model_fingerprint = models.CharField(max_length=64, blank=True)
    calibration_version = models.CharField(max_length=64, blank=True)
    tier = models.CharField(max_length=32, blank=True)  # risk tier of the transaction
    policy = models.PositiveIntegerField(default=0)  # number of the policy that decided
    further_factor_required = models.BooleanField(default=True)  # what an ACCEPT is worth in the tier
    fallback = models.CharField(max_length=32, blank=True)  # the factor that the answer named
    caller = models.CharField(max_length=64, blank=True)  # keyed hash, see attempts.key_of
    channel = models.CharField(max_length=8, blank=True)  # that was heard where the recording's channels differ
    voice_changes_at = models.FloatField(null=True)  # where a second voice begins, in seconds of the kept recording
    truncated = models.BooleanField(default=False)  # audio is known to be missing at the end of the recording
    redacted = models.JSONField(default=list)  # [[start, end], …] in seconds: not stored, not scored
    told = models.JSONField(null=True)  # what the caller was told instead, where the decision is hidden
    fraud_risk = models.JSONField(default=dict)  # level and reasons
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
            models.Index(fields=["request_id"]),
            models.Index(fields=["caller", "-created_at"], condition=~models.Q(caller=""), name="decisions_by_caller"),
            models.Index(fields=["tier", "-created_at"], name="decisions_by_tier"),
            models.Index(fields=["kind", "decision", "-created_at"], name="decisions_by_kind"),
            models.Index(fields=["kind", "tier", "-created_at"], name="decisions_by_kind_and_tier"),
            GinIndex(
                fields=["reasons"],
                opclasses=["jsonb_path_ops"],
                condition=~models.Q(reasons=[]),
                name="decisions_by_reason",
            ),
            models.Index(
                fields=["-created_at"], condition=models.Q(fraud_risk__level="HIGH_RISK"), name="decisions_with_risk"
            ),
            models.Index(fields=["-created_at"], condition=~models.Q(reasons=[]), name="decisions_with_reasons"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.decision} {self.id}"


class CallAudio(models.Model):
    """The audio of a verification, sealed under the claimed customer's data key and kept for a while."""

    decision = models.OneToOneField(Decision, on_delete=models.CASCADE, primary_key=True, related_name="audio")
    customer = models.ForeignKey("enrollment.Customer", on_delete=models.CASCADE)  # erased with the customer
    content = AudioField()
    expires_at = models.DateTimeField(db_index=True)


class Caller(models.Model):
    """A caller, such as a telephone number, as a keyed hash: refusals in a row, whomever it claimed to be."""

    key = models.CharField(max_length=64, primary_key=True)
    refusals = models.PositiveIntegerField(default=0)
    refused_at = models.DateTimeField(null=True)


class DriftReport(models.Model):
    """How the verifications of a week differ from those that the model in service began with. See ``drift``.

    It holds shares of calls, and nothing about any one of them.
    """

    model = models.ForeignKey(ModelVersion, on_delete=models.CASCADE)
    since = models.DateTimeField()
    until = models.DateTimeField()
    reference_since = models.DateTimeField()
    reference_until = models.DateTimeField()
    measures = models.JSONField()  # by name: psi, reference and recent (shares), the numbers of calls, edges or names
    alarms = models.JSONField(default=list)  # the names of the measures that reach drift.ALARM
    errors = models.JSONField(default=list, db_default=[])  # of labelled calls: see ``error_rates.by_subgroup``

    class Meta:
        ordering = ["-until"]
        constraints = [models.UniqueConstraint(fields=["model", "until"], name="one_drift_report_a_day")]

    def __str__(self) -> str:
        return f"drift of {self.model_id} until {self.until:%d %b %Y}"
