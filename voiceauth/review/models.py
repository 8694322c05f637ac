"""The capabilities of the review site: permissions that belong to no single table."""

from django.db import models


class Capability(models.Model):
    """Holds permissions only; there is no table. ``roles`` says which role has which."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("play_audio", "Can listen to stored audio"),
            ("export_audio", "Can ask for a copy of recordings, and save one that a second person approved"),
            ("erase_customer", "Can erase a customer's audio and voiceprints"),
            ("approve_enrollment", "Can approve and remove recordings that wait for a second person"),
            ("revoke_confirmation", "Can remove a confirmed call from a voiceprint"),
            ("lock_customer", "Can lock and unlock a customer"),
            ("change_policy", "Can put a new policy into force"),
            ("cancel_batch", "Can cancel a batch enrollment"),
            ("run_training", "Can start and cancel training runs"),
            ("promote_model", "Can promote a model and roll back"),
            ("verify_trail", "Can verify the audit trail"),
            ("manage_clients", "Can create and revoke API clients"),
            ("try_voice", "Can try the service with the own voice"),
        ]
