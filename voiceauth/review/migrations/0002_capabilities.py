from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("review", "0001_initial")]
    operations = [
        migrations.AlterModelOptions(
            name="capability",
            options={
                "managed": False,
                "default_permissions": (),
                "permissions": [
                    ("play_audio", "Can listen to stored audio"),
                    ("erase_customer", "Can erase a customer's audio and voiceprints"),
                    ("approve_enrollment", "Can approve and remove recordings that wait for a second person"),
                    ("lock_customer", "Can lock and unlock a customer"),
                    ("change_policy", "Can put a new policy into force"),
                    ("cancel_batch", "Can cancel a batch enrollment"),
                    ("run_training", "Can start and cancel training runs"),
                    ("promote_model", "Can promote a model and roll back"),
                    ("verify_trail", "Can verify the audit trail"),
                    ("manage_clients", "Can create and revoke API clients"),
                ],
            },
        ),
    ]
