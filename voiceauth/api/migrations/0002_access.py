from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="apiclient",
            name="role",
            field=models.CharField(
                choices=[
                    ("teller", "Teller"),
                    ("ivr", "Ivr"),
                    ("reviewer", "Reviewer"),
                    ("admin", "Admin"),
                    ("auditor", "Auditor"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="scopes",
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="rate_limits",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="previous_token_hash",
            field=models.CharField(editable=False, max_length=64, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="previous_expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="issued_by",
            field=models.CharField(blank=True, max_length=128),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="last_used_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
