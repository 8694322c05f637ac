from django.db import migrations, models

# Processes of the version before still take the number after the last one of their chain. 100,000 numbers are left for
# them, so that none meets the number of an event in a lane. An empty trail needs no such gap.
NUMBER = """
CREATE SEQUENCE audit_event_number OWNED BY audit_auditevent.sequence;
SELECT setval('audit_event_number', max(sequence) + 100000) FROM audit_auditevent HAVING count(*) > 0;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="LaneHead",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "lane", "sequence", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("lane", models.SmallIntegerField()),
                ("sequence", models.BigIntegerField()),
                ("hash", models.CharField(max_length=64)),
                ("seal", models.CharField(max_length=64)),
            ],
        ),
        migrations.AddField("auditevent", "lane", models.SmallIntegerField(null=True)),
        migrations.AddField("auditevent", "follows", models.JSONField(null=True)),
        # The indexes of the hash go: nothing looked an event up by it, and its values come in no order.
        migrations.AlterField("auditevent", "hash", models.CharField(max_length=64)),
        migrations.RunSQL(NUMBER, "DROP SEQUENCE audit_event_number"),
    ]
