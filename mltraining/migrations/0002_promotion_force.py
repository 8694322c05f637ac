from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mltraining", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="promotion_forced",
            field=models.BooleanField(default=False),
        ),
    ]
