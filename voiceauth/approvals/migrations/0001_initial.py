import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("action", models.CharField(max_length=64)),
                ("parameters", models.JSONField()),
                ("reason", models.CharField(max_length=500)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("REQUESTED", "Requested"),
                            ("APPROVED", "Approved"),
                            ("REJECTED", "Rejected"),
                            ("EXPIRED", "Expired"),
                            ("EXECUTED", "Executed"),
                        ],
                        default="REQUESTED",
                        max_length=16,
                    ),
                ),
                ("requested_by", models.CharField(max_length=128)),
                ("requested_at", models.DateTimeField(auto_now_add=True)),
                ("decided_by", models.CharField(blank=True, max_length=128)),
                ("decided_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-requested_at"],
                "indexes": [models.Index(fields=["state", "expires_at"], name="approval_state_expires")],
                "permissions": [("decide_approval", "Can approve and reject what others ask for")],
            },
        ),
    ]
