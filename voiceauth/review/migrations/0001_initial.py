from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Capability",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))
            ],
            options={
                "managed": False,
                "default_permissions": (),
                "permissions": [
                    ("play_audio", "Can listen to stored audio"),
                    ("erase_customer", "Can erase a customer's audio and voiceprints"),
                    ("run_training", "Can start and cancel training runs"),
                    ("promote_model", "Can promote a model and roll back"),
                    ("verify_trail", "Can verify the audit trail"),
                    ("manage_clients", "Can create and revoke API clients"),
                ],
            },
        ),
    ]
