"""The service's own root key."""

from django.db import models

from voiceauth.platform.vault.fields import WrappedKeyField


class RootKey(models.Model):
    """One row (id 1), made by the first migration: whatever the service seals for itself is under it.

    Unmanaged, so that ``manage.py flush`` leaves it: without it the trail could not be verified.
    """

    id = models.SmallIntegerField(primary_key=True)
    data_key = WrappedKeyField("root")

    class Meta:
        managed = False
        db_table = "vault_rootkey"
