"""Second factors of people, and accounts that an identity provider vouches for. No secret is stored."""

import uuid

from django.conf import settings
from django.db import models


class SecondFactor(models.Model):
    """A person's authenticator app (TOTP, RFC 6238). Its secret is derived from ``id`` and the service's root key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor")
    last_step = models.BigIntegerField()  # the time step of the latest code: no code counts twice
    failures = models.PositiveIntegerField(default=0)  # wrong codes in a row, from any address
    blocked_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class RecoveryCode(models.Model):
    """A code that replaces the app once. Only a keyed hash is stored; the row of a used code is deleted."""

    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["factor", "digest"], name="sign_in_recovery_code_once")]

    def __str__(self) -> str:
        return f"recovery code of {self.factor.user}"


class ProviderAccount(models.Model):
    """Which person of an OpenID Connect provider an account belongs to."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="provider_account")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)  # never given to anybody else, unlike a name

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="sign_in_one_account_a_subject")]

    def __str__(self) -> str:
        return f"provider account of {self.user}"
