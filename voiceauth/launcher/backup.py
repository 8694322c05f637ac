"""Backups: the database, the sealed recordings and the models, as a folder of files; and how they are put back.

A backup is made while the service runs. The database is dumped first, as of one moment. A recording is written before
its row and deleted after it, so what is copied afterwards holds all that the dump names, except for what was erased or
expired meanwhile, and files of later rows, which the hourly sweep deletes after a restore.

Master keys are not in it, and neither is the journal of erasures (``platform.erasure.journal``): both have to be kept
apart.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from mltraining import registry
from mltraining.errors import ModelUnavailable
from mltraining.models import ModelVersion
from voiceauth.launcher import embedded
from voiceauth.platform import storage
from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure import services as erasures
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.vault import keyring
from voiceauth.platform.vault.providers import KeysUnavailable, UnknownMasterKey
from voiceauth.platform.vault.sealing import Unsealable

FORMAT = 1
ABOUT, SUMS, DATABASE, AUDIO, MODELS = "backup.json", "SHA256SUMS", "database.dump", "audio", "models"
KEY_CONTEXT = "backup"
# Sessions would let people in again who have signed out since; a moment is theirs anyway.
LEFT_OUT = ("django_session",)


class BackupError(Exception):
    """A backup cannot be made or put back. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a backup says of itself, in ``backup.json``."""

    format: int
    version: str  # of the service
    made_at: str  # ISO 8601, in UTC; the database is a little younger
    anchor: str  # the last row of the audit trail, as ``verify_audit_trail --anchor`` takes it
    master_key: str  # the id of the current one
    key_check: str  # a key that is wrapped under it, hexadecimal: whether the same master key is there at the restore
    last_erasure: str  # the id of the latest erasure with a receipt, which the journal must have; or empty
    recordings: int
    models: int


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did: the rows of the trail, and the erasures that it carried out again."""

    about: About
    trail: chain.Report
    erased_again: int


def make(folder: Path) -> About:
    """Write a backup to ``folder``, which must not exist yet. Raises ``BackupError``.

    It is written beside its place and renamed at the end, so that half a backup is never taken for a whole one.
    """
    if folder.exists():
        raise BackupError(f"{folder} exists already. Name a new folder for each backup.")
    draft = folder.with_name(f".{folder.name}.incomplete")
    if draft.exists():  # of an attempt that was cut off
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700, parents=True)
    newest = AuditEvent.objects.only("sequence", "hash").first()
    done = Erasure.objects.filter(state=Erasure.State.SUCCEEDED).order_by("finished_at").last()
    key_check = keyring.wrap(os.urandom(32), KEY_CONTEXT)
    made_at = timezone.now()
    left_out = [f"--exclude-table-data={table}" for table in LEFT_OUT]
    _call("pg_dump", "--format=custom", "--no-owner", "--no-privileges", *left_out, "--file", str(draft / DATABASE))
    about = About(
        format=FORMAT,
        version=settings.VERSION,
        made_at=made_at.isoformat(timespec="seconds"),
        anchor=str(chain.Anchor.of(newest)) if newest else "",
        master_key=keyring.current_id(),
        key_check=key_check.hex(),
        last_erasure=str(done.pk) if done else "",
        recordings=_copy_recordings(draft / AUDIO),
        models=_copy_models(draft / MODELS),
    )
    (draft / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
    _write_sums(draft)
    draft.rename(folder)
    data = {"recordings": about.recordings, "models": about.models}
    with transaction.atomic():
        record(action="backup.made", actor=SYSTEM, target=f"backup:{about.made_at}", data=data)
    return about


def restore(folder: Path, *, without_journal: bool = False) -> Restored:
    """Put a backup back into an empty database, and carry out again the erasures that it does not know.

    Recordings and models that are there already stay as they are. Raises ``BackupError``, before anything is changed
    where the backup, the database, the master keys or the journal are not what they must be.
    """
    about = _read(folder)
    _check_sums(folder)
    _check_master_key(about)
    if about.last_erasure and not without_journal:
        _check_journal(about)
    if connection.introspection.table_names():
        raise BackupError("The database is not empty. Create a new one, and name it in DATABASE_URL.")
    _put_back_recordings(folder / AUDIO)
    shutil.copytree(
        folder / MODELS, settings.VOICEAUTH_MODELS_DIR, copy_function=_copy_unless_there, dirs_exist_ok=True
    )
    connection.close()
    options = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    _call("pg_restore", *options, str(folder / DATABASE))
    call_command("migrate", verbosity=0, interactive=False)
    anchors = [chain.Anchor.parse(about.anchor)] if about.anchor else []
    trail = chain.verify(anchors=anchors)
    erased_again = 0 if without_journal else erasures.repeat_after_restore()
    with transaction.atomic():
        data = {"erased_again": erased_again, "without_journal": without_journal}
        record(action="backup.restored", actor=SYSTEM, target=f"backup:{about.made_at}", data=data)
    return Restored(about=about, trail=trail, erased_again=erased_again)


def _copy_recordings(to: Path) -> int:
    to.mkdir(mode=0o700)
    copied = 0
    for names in storage.stored():
        for name in sorted(names):
            target = to / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                with storage.storage().open(name, "rb") as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)
            except FileNotFoundError:  # erased or expired meanwhile
                target.unlink(missing_ok=True)
                continue
            copied += 1
    return copied


def _copy_models(to: Path) -> int:
    for version in ModelVersion.objects.values_list("version", flat=True):
        try:
            registry.fetch(version)
        except ModelUnavailable as error:
            raise BackupError(f"The model {version} cannot be fetched, so the backup would lack it.") from error
    models = Path(settings.VOICEAUTH_MODELS_DIR)
    if not models.is_dir():
        to.mkdir(mode=0o700)
        return 0
    shutil.copytree(models, to, ignore=shutil.ignore_patterns(".*"))
    return len([each for each in to.iterdir() if each.is_dir()])


def _put_back_recordings(source: Path) -> None:
    for path in _files(source):
        name = path.relative_to(source).as_posix()
        if not storage.storage().exists(name):
            with path.open("rb") as file:
                storage.storage().save(name, File(file))


def _copy_unless_there(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(source, target)


def _write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS``, which ``sha256sum --check`` reads as well."""
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}" for path in _files(folder)]
    (folder / SUMS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _check_sums(folder: Path) -> None:
    listed = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text(encoding="utf-8").splitlines())
    found = {path.relative_to(folder).as_posix() for path in _files(folder)} - {SUMS}
    if missing := sorted(set(listed) - found):
        raise BackupError(f"The backup is incomplete: {missing[0]} and {len(missing) - 1} further files are missing.")
    for name in sorted(listed):
        if _sha256(folder / name) != listed[name]:
            raise BackupError(f"The backup is damaged: {name} is not the file that {SUMS} names. Take another backup.")


def _read(folder: Path) -> About:
    try:
        said = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is no backup: {ABOUT} cannot be read.") from error
    if said.get("format") != FORMAT:
        raise BackupError(f"The backup has the format {said.get('format')!r}; this version reads {FORMAT}.")
    return About(**said)


def _check_master_key(about: About) -> None:
    try:
        keyring.unwrap(bytes.fromhex(about.key_check), KEY_CONTEXT)
    except (UnknownMasterKey, Unsealable) as error:
        raise BackupError(
            f"The master key {about.master_key!r} of the backup is not configured, or another one has its name. "
            "Put the same master keys back first: without them no voice can be read."
        ) from error
    except KeysUnavailable as error:
        raise BackupError(error.detail) from error


def _check_journal(about: About) -> None:
    if not journal.has(UUID(about.last_erasure)):
        raise BackupError(
            f"The journal of erasures lacks {about.last_erasure}, which was in it when the backup was made. Set "
            "VOICEAUTH_ERASURE_JOURNAL to the journal. If it is lost, add --without-journal: whoever was erased after "
            "the backup comes back, and must be erased again by hand."
        )


def _call(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on the configured database. Raises ``BackupError`` with what it said."""
    parameters = connection.get_connection_params()
    known = ("host", "port", "user", "dbname", "connect_timeout", "sslmode", "sslrootcert", "sslcert", "sslkey")
    conninfo = make_conninfo(**{name: parameters[name] for name in known if parameters.get(name)})
    environment = dict(os.environ)
    if password := parameters.get("password"):
        environment["PGPASSWORD"] = str(password)  # not on the command line, which everybody can read
    try:
        command = [embedded.program(program), "--dbname", conninfo, *arguments]
    except embedded.EmbeddedError as error:
        raise BackupError(str(error)) from error
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-2000:]}")


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
