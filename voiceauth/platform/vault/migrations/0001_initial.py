"""The service's root key, in a table that ``flush`` leaves alone."""

import os

from django.db import migrations, models

import voiceauth.platform.vault.fields


def make_root_key(apps, schema_editor):
    from voiceauth.platform.vault import keyring

    with schema_editor.connection.cursor() as cursor:
        cursor.execute("INSERT INTO vault_rootkey VALUES (1, %s)", [keyring.wrap(os.urandom(32), "root:1")])


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="RootKey",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("data_key", voiceauth.platform.vault.fields.WrappedKeyField("root")),
            ],
            options={"db_table": "vault_rootkey", "managed": False},
        ),
        migrations.RunSQL(
            "CREATE TABLE vault_rootkey (id smallint PRIMARY KEY CHECK (id = 1), data_key bytea NOT NULL)",
            "DROP TABLE vault_rootkey",
        ),
        migrations.RunPython(make_root_key, migrations.RunPython.noop),
    ]
