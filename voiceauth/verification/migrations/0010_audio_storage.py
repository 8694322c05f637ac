"""Recordings of calls move from the database to the storage."""

from django.core.files.base import ContentFile
from django.db import migrations, models

import voiceauth.audio_store


def store_recordings(apps, schema_editor):
    CallAudio = apps.get_model("verification", "CallAudio")
    storage = voiceauth.audio_store.storage()
    for row in CallAudio.objects.iterator(chunk_size=20):
        name = storage.save(voiceauth.audio_store.opaque_name(), ContentFile(bytes(row.content)))
        CallAudio.objects.filter(pk=row.pk).update(stored=name)


class Migration(migrations.Migration):

    dependencies = [
        ("verification", "0003_attempts"),
    ]

    operations = [
        migrations.AddField("callaudio", "stored", models.CharField(max_length=64, default=""), preserve_default=False),
        migrations.RunPython(store_recordings),
        migrations.RemoveField("callaudio", "content"),
        migrations.RenameField("callaudio", "stored", "content"),
        migrations.AlterField("callaudio", "content", voiceauth.audio_store.AudioField()),
    ]
