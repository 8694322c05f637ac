"""The service's root key, in a table that ``flush`` leaves alone.

A service that wrote its trail before there was a root key derived everything from the master key: there the root is
what was derived from, so that the trail goes on to verify.
"""

import os

from django.db import migrations

import voiceauth.vault.fields
from django.db import models


def make_root_key(apps, schema_editor):
    from voiceauth.vault import keyring
    from voiceauth.vault.providers import Secrets, root_of

    root = os.urandom(32)
    if apps.get_model("audit", "ChainHead").objects.exists():
        provider = keyring.providers()[0]
        if not isinstance(provider, Secrets):
            raise RuntimeError("Upgrade with the master key that is in use; then move to the key-management service.")
        root = root_of(list(provider.secrets().values())[-1])
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("INSERT INTO voiceauth_rootkey VALUES (1, %s)", [keyring.wrap(root, "root:1")])


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ("audit", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="RootKey",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("data_key", voiceauth.vault.fields.WrappedKeyField("root")),
            ],
            options={"db_table": "voiceauth_rootkey", "managed": False},
        ),
        migrations.RunSQL(
            "CREATE TABLE voiceauth_rootkey (id smallint PRIMARY KEY CHECK (id = 1), data_key bytea NOT NULL)",
            "DROP TABLE voiceauth_rootkey",
        ),
        migrations.RunPython(make_root_key, migrations.RunPython.noop),
    ]
