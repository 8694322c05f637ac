"""Recordings move from the database to the storage; data keys say which master key wraps them."""

from django.core.files.base import ContentFile
from django.db import migrations, models

import voiceauth.audio_store
import voiceauth.vault.fields


def store_recordings(apps, schema_editor):
    SealedAudio = apps.get_model("enrollment", "SealedAudio")
    storage = voiceauth.audio_store.storage()
    for row in SealedAudio.objects.iterator(chunk_size=20):
        name = storage.save(voiceauth.audio_store.opaque_name(), ContentFile(bytes(row.content)))
        SealedAudio.objects.filter(pk=row.pk).update(stored=name)


def name_master_key(apps, schema_editor):
    """Until now there was one master key, and nothing said which."""
    from voiceauth.vault import keyring

    if not apps.get_model("enrollment", "Customer").objects.exists():
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "UPDATE enrollment_customer SET data_key = %s || data_key WHERE length(data_key) = 60",
            [keyring.prefix_of(keyring.current_id())],
        )


class Migration(migrations.Migration):

    dependencies = [
        ("enrollment", "0002_lifecycle"),
        ("voiceauth", "0001_root_key"),
    ]

    operations = [
        migrations.AddField("sealedaudio", "stored", models.CharField(max_length=64, default=""), preserve_default=False),
        migrations.RunPython(store_recordings),
        migrations.RemoveField("sealedaudio", "content"),
        migrations.RenameField("sealedaudio", "stored", "content"),
        migrations.AlterField("sealedaudio", "content", voiceauth.audio_store.AudioField()),
        migrations.RunPython(name_master_key),
        migrations.AlterField("customer", "data_key", voiceauth.vault.fields.WrappedKeyField("customer")),
    ]
