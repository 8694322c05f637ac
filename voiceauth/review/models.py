"""The capabilities of the review site: permissions that belong to no single table."""

from django.db import models


class Capability(models.Model):
    """Holds permissions only; there is no table. ``roles`` says which role has which."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("play_audio", "Can listen to stored audio"),
            ("erase_customer", "Can erase a customer's audio and voiceprints"),
            ("run_training", "Can start and cancel training runs"),
            ("promote_model", "Can promote a model and roll back"),
            ("verify_trail", "Can verify the audit trail"),
            ("manage_clients", "Can create and revoke API clients"),
        ]
