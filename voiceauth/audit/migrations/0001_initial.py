from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ChainHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sequence", models.BigIntegerField(default=0)),
                ("hash", models.CharField(max_length=64)),
                ("seal", models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("sequence", models.BigIntegerField(primary_key=True, serialize=False)),
                ("occurred_at", models.DateTimeField()),
                ("action", models.CharField(max_length=64)),
                (
                    "outcome",
                    models.CharField(
                        choices=[("success", "Success"), ("refused", "Refused"), ("failed", "Failed")], max_length=8
                    ),
                ),
                ("actor", models.CharField(max_length=128)),
                ("role", models.CharField(max_length=16)),
                ("ip_address", models.CharField(blank=True, max_length=45)),
                ("request_id", models.CharField(blank=True, max_length=36)),
                ("customer_id", models.CharField(blank=True, max_length=64)),
                ("target", models.CharField(blank=True, max_length=128)),
                ("model_version", models.CharField(blank=True, max_length=64)),
                ("threshold", models.FloatField(null=True)),
                ("before", models.JSONField(null=True)),
                ("after", models.JSONField(null=True)),
                ("data", models.JSONField(default=dict)),
                ("previous_hash", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64, unique=True)),
            ],
            options={
                "ordering": ["-sequence"],
                "indexes": [
                    models.Index(fields=["customer_id", "-sequence"], name="audit_audit_custome_372640_idx"),
                    models.Index(fields=["action", "-sequence"], name="audit_audit_action_c78095_idx"),
                    models.Index(fields=["occurred_at"], name="audit_audit_occurre_b8cdc4_idx"),
                ],
            },
        ),
    ]
