"""Customers, their consent, their enrollment audio and their voiceprints.

Audio and voiceprints are sealed under the customer's own data key (``voiceauth.platform.vault``).
"""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from voiceauth.platform.storage import AudioField
from voiceauth.platform.vault.fields import WrappedKeyField

customer_id_validator = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\Z", "1 to 64 letters, digits or . _ : @ - characters, no space."
)


WORDS_OF_NAME = SearchVector("display_name", config="simple")  # in no one language


class Customer(models.Model):
    """A customer of the bank. ``lifecycle`` says what the states mean and which moves there are."""

    class State(models.TextChoices):
        """Where a customer stands.

        * `PENDING`: no recording counts yet.
        * `ENROLLING`: more speech is needed.
        * `ENROLLED`: the customer can be verified.
        * `EXPIRED`: the voice was not used for so long that it was erased.
        * `OPTED_OUT`: the customer withdrew the consent, and the voice was erased.
        * `LOCKED`: no call is scored until a reviewer unlocks the customer.
        * `ERASED`: everything about the customer was erased.
        """

        PENDING = "PENDING"
        ENROLLING = "ENROLLING"
        ENROLLED = "ENROLLED"
        EXPIRED = "EXPIRED"
        OPTED_OUT = "OPTED_OUT"
        LOCKED = "LOCKED"
        ERASED = "ERASED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer_id = models.CharField(max_length=64, unique=True, validators=[customer_id_validator])
    display_name = models.CharField(max_length=128, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    data_key = WrappedKeyField("customer")
    speech_seconds = models.FloatField(default=0)  # net speech over the accepted samples, without confirmed calls
    created_at = models.DateTimeField(default=timezone.now)  # anew when an erased customer comes back
    enrolled_at = models.DateTimeField(null=True)
    last_accessed_at = models.DateTimeField(null=True)  # enrollment or a successful verification
    refusals = models.PositiveIntegerField(default=0)  # verifications refused in a row
    refused_at = models.DateTimeField(null=True)  # the last of them
    opened_key: tuple[bytes, bytes] | None = None  # ``data_key``, wrapped and unwrapped: see ``keys``

    class Meta:
        ordering = ["customer_id"]
        indexes = [
            models.Index(fields=["state", "last_accessed_at"]),  # what the expiry looks for
            GinIndex(WORDS_OF_NAME, name="customers_by_name"),
        ]

    def __str__(self) -> str:
        return self.customer_id


class ConsentText(models.Model):
    """A text that customers are shown. The database refuses to change or delete one: a change is a new version."""

    version = models.CharField(primary_key=True, max_length=64)
    text = models.TextField()
    sha256 = models.CharField(max_length=64)  # of the text in UTF-8
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=128)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.version


class Consent(models.Model):
    """What the customer agreed to. A withdrawn consent is kept: it shows what was allowed, and when."""

    class Purpose(models.TextChoices):
        """What the customer agrees to.

        * `voice_authentication`: audio is stored, scored and trained on.
        * `trial`: audio is stored and scored, to try the service; nothing is trained on it.
        """

        VOICE_AUTHENTICATION = "voice_authentication"
        TRIAL = "trial"

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="consents")
    purpose = models.CharField(max_length=32, choices=Purpose)
    text_version = models.CharField(max_length=64)
    text_sha256 = models.CharField(max_length=64, blank=True)  # empty: the version was not stored when it was agreed to
    origin = models.CharField(max_length=32)  # branch, phone, app, web, …
    granted_at = models.DateTimeField(auto_now_add=True)
    granted_by = models.CharField(max_length=128)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-granted_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "purpose"],
                condition=models.Q(withdrawn_at=None),
                name="one_current_consent_a_purpose",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_purpose_display()}, text {self.text_version}"


class AudioSample(models.Model):
    """One enrollment recording that passed the gate, and its quality report.

    A held one is stored, but counts for nothing until a second person has approved it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="samples")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=128)
    request_id = models.CharField(max_length=36, blank=True)  # the request that enrolled it, or the batch's id
    sha256 = models.CharField(max_length=64)  # keyed (HMAC), so that equal audio of two customers cannot be linked
    byte_count = models.PositiveIntegerField()
    container = models.CharField(max_length=32)
    codec = models.CharField(max_length=32)
    sample_rate = models.PositiveIntegerField()  # Hz, as uploaded
    duration_seconds = models.FloatField()
    speech_seconds = models.FloatField()
    snr_db = models.FloatField()
    clipping_ratio = models.FloatField()
    channel = models.CharField(max_length=8, blank=True)  # that was enrolled where the recording's channels differ
    truncated = models.BooleanField(default=False)  # audio is known to be missing at the end
    origin = models.CharField(max_length=32, default="default")  # whose limits it met
    policy = models.PositiveIntegerField(default=0)  # number of the policy that it met
    redacted = models.JSONField(default=list)  # [[start, end], …] in seconds of the upload: cut out, not stored
    held_for = models.JSONField(default=list)  # why it is held: APPROVAL, REVIEW, COHESION; empty: it counts
    approved_by = models.CharField(max_length=128, blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint(fields=["customer", "sha256"], name="no_sample_twice")]
        indexes = [models.Index(fields=["created_at"], condition=~models.Q(held_for=[]), name="samples_that_are_held")]

    def __str__(self) -> str:
        return f"recording of {self.created_at:%d %b %Y, %H:%M}"


class ConfirmedCall(models.Model):
    """A call that another factor confirmed and that was added to the customer's recordings: a part of the voiceprint.

    ``decision_id`` is a bare number because decisions live in a room above. The row stays when the recording is
    removed, so that a revoked call cannot be added again.
    """

    decision_id = models.UUIDField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="confirmed_calls")
    sample = models.OneToOneField(AudioSample, null=True, on_delete=models.SET_NULL, related_name="confirmation")
    method = models.CharField(max_length=32)  # the other factor, of ``policies.document.METHODS``


class SealedAudio(models.Model):
    """The audio of a sample, sealed. It is a table of its own so that lists of samples stay light."""

    sample = models.OneToOneField(AudioSample, on_delete=models.CASCADE, primary_key=True, related_name="audio")
    content = AudioField()


class SampleEmbedding(models.Model):
    """The embedding of one sample under one model, sealed float32."""

    sample = models.ForeignKey(AudioSample, on_delete=models.CASCADE, related_name="embeddings")
    model_fingerprint = models.CharField(max_length=64)
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sample", "model_fingerprint"], name="one_embedding_a_model")]


class Voiceprint(models.Model):
    """A customer's row in the classifier of one model: a unit vector in its embedding space, sealed float32.

    It is the mean of the sample embeddings, weighted by net speech (``voiceprints.weights``). ``revision`` grows with
    every write, so that a scoring worker's gallery fetches only what has changed.
    """

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="voiceprints")
    model_fingerprint = models.CharField(max_length=64)
    content = models.BinaryField()
    sample_count = models.PositiveIntegerField()
    speech_seconds = models.FloatField()
    revision = models.BigIntegerField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "model_fingerprint"], name="one_voiceprint_a_model")]
        indexes = [models.Index(fields=["model_fingerprint", "revision"])]

    def __str__(self) -> str:
        return f"voiceprint under model {self.model_fingerprint[:8]}"


class HeardRecording(models.Model):
    """The acoustic fingerprint of a recording that claimed to be the customer, used to detect replays.

    It is sealed, because the spectral peaks are the customer's. The recording was either enrolled as ``sample`` or
    accepted in the call of ``decision_id``, which is a bare number because decisions live in a room above.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="heard")
    sample = models.OneToOneField(AudioSample, null=True, on_delete=models.CASCADE, related_name="heard")
    decision_id = models.UUIDField(null=True)
    content = models.BinaryField()
    heard_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(sample=None) ^ models.Q(decision_id=None), name="heard_in_a_sample_or_a_decision"
            )
        ]
        indexes = [models.Index(fields=["customer", "-heard_at"])]
