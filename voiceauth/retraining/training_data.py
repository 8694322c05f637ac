"""The training set: the consented audio of enrolled customers, sealed under a key of the run's own.

Where there are enough customers, some are left out (``holding_out``), so that the model can be tested on them.

One folder a run, ``VOICEAUTH_RUNS_DIR/<run id>`` (mode 0700)::

    data/<customer>/<sample>   the recordings, sealed; ``<customer>`` is our UUID, not the bank's identifier
    data/train.pq              columns audio (path below ``data``), class (customer), fold
    output/                    what the training program writes: checkpoints, pipeline, charts
    training.log

Only the training program opens the recordings, in its memory. When the run ends they are deleted, and so is the output,
because the class rows in it are voiceprints. The log stays.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from enrollment import selectors
from enrollment.models import AudioSample, Consent, Customer
from mltraining.speech.training import sealed
from voiceauth.platform import vault
from voiceauth.platform.erasure.copies import CopiesInUse
from voiceauth.platform.storage import RecordingGone
from voiceauth.policies import selectors as policies
from voiceauth.retraining import holding_out
from voiceauth.retraining.models import TrainingRun
from voiceauth.retraining.selectors import open_runs

logger = logging.getLogger(__name__)

ERASED = "recordings_erased"  # a file in the folder of a run whose worker must start anew
FOLDS = 10  # a tenth of each customer's recordings is held out
HELD_OUT = 0  # the fold that the recipe holds out

Row = tuple[str, str, int]  # path below data, customer, fold


@dataclass(frozen=True)
class TrainingData:
    """What was exported: whose recordings, which, and how many of them are held out."""

    customers: frozenset[uuid.UUID]
    samples: frozenset[uuid.UUID]
    held_out: int

    def is_current(self) -> bool:
        """Return whether every recording is still there, and every customer still consents."""
        permitted = AudioSample.objects.filter(id__in=self.samples, customer__in=_consenting())
        return permitted.count() == len(self.samples)


def folder_of(run_id: uuid.UUID) -> Path:
    """Return the folder of a training run."""
    return Path(settings.VOICEAUTH_RUNS_DIR) / str(run_id)


def data_key_of(folder: Path) -> bytes:
    """Return the key (32 bytes) that a run's recordings are sealed under. It is the same at every attempt."""
    return vault.derived_key(f"training-data:{folder.name}")


def export_manifest(folder: Path, *, on_clip: Callable[[float], None] = lambda share: None) -> TrainingData:
    """Export the recordings to ``folder/data``, or on a resume keep those that are there.

    A resumed run keeps its recordings, so that it goes on from its checkpoint; new enrollments wait for the next
    run. Where a recording was erased meanwhile, the run starts again without it, because its output was trained on
    that voice. ``on_clip`` is called with the share done (0 to 1) and may raise to stop.
    """
    (folder / ERASED).unlink(missing_ok=True)
    rows = _exported(folder)
    if rows is None or not _described(rows).is_current() or not _complete(folder, rows):
        rows = _export(folder, on_clip)
    return _described(rows)


def exportable() -> dict[uuid.UUID, list[uuid.UUID]]:
    """Return the recordings that count, oldest first, of each customer who is enrolled and consents."""
    customers = _consenting().filter(state=Customer.State.ENROLLED)
    samples = AudioSample.objects.filter(customer__in=customers, held_for=[]).order_by(
        "customer_id", "created_at", "id"
    )
    by_customer: dict[uuid.UUID, list[uuid.UUID]] = {}
    for sample_id, customer in samples.values_list("id", "customer_id"):
        by_customer.setdefault(customer, []).append(sample_id)
    return by_customer


def remove_copies(customer: uuid.UUID) -> None:
    """Remove a customer's erased recordings, and what was trained on them, from every run under way.

    Raises ``OSError`` where a file cannot be deleted. Raises ``CopiesInUse`` where a worker is training on them,
    because its checkpoints hold the voice; the worker is told to stop, and its next attempt starts again.
    """
    root = Path(settings.VOICEAUTH_RUNS_DIR)
    folders = list(root.iterdir()) if root.is_dir() else []
    in_use = [folder.name for folder in folders if not _forgotten(folder, customer)]
    if in_use:
        raise CopiesInUse(f"Training run {in_use[0]} was training on the recordings and starts anew without them.")


def is_told_to_forget(folder: Path) -> bool:
    """Return whether recordings were erased under the attempt that is at the run."""
    return (folder / ERASED).exists()


@transaction.atomic
def _forgotten(folder: Path, customer: uuid.UUID) -> bool:
    """Remove the erased recordings, and unless a worker is at the run, what was trained on them.

    Return false where a worker is at the run.
    """
    copied = {path.name for path in (folder / "data" / str(customer)).glob("*")}
    copied |= {path.rpartition("/")[2] for path, owner, _ in _exported(folder) or [] if owner == str(customer)}
    erased = copied - {str(pk) for pk in AudioSample.objects.filter(customer=customer).values_list("pk", flat=True)}
    if not erased:
        return True
    runs = {str(run.pk): run.state for run in open_runs().select_for_update()}  # nobody can claim one meanwhile
    if runs.get(folder.name) == TrainingRun.State.RUNNING:
        for name in erased:
            (folder / "data" / str(customer) / name).unlink(missing_ok=True)
        (folder / ERASED).touch()
        return False
    _remove(folder / "output")
    _remove(folder / "data")
    return True


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it. One that is gone is fine; raises ``OSError`` where something is left."""
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # another process removes it as well: see what that has left
            continue


def sweep() -> None:
    """Remove the recordings and the output of runs that have ended, or that the database does not know.

    Runs in the training worker, which owns the files. A folder that cannot be removed is logged and tried again.
    """
    root = Path(settings.VOICEAUTH_RUNS_DIR)
    folders = list(root.iterdir()) if root.is_dir() else []  # first: the row of a run is older than its folder
    kept = {str(run) for run in open_runs().values_list("id", flat=True)}
    for folder in folders:
        if folder.name not in kept:
            try:
                _remove(folder / "data")
                _remove(folder / "output")
            except OSError as error:  # one folder must not keep the others; the next sweep tries again
                logger.error("the files of training run %s could not be removed: %s", folder.name, error.strerror)


def fold_of(position: int, clips: int) -> int:
    """Return the fold of a customer's recording number ``position`` (from 0) of ``clips``, in rotation.

    The last of the first ten is held out. A single recording is trained on.
    """
    return (position + 1) % min(FOLDS, clips) if clips > 1 else 1


def consenting(customers: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Return those of ``customers`` who consent now, locked until the transaction ends.

    So an erasure comes before or after.
    """
    return list(_consenting().select_for_update().filter(pk__in=customers).order_by("pk").values_list("pk", flat=True))


def _consenting() -> QuerySet[Customer]:
    current = Consent.objects.filter(
        customer=OuterRef("pk"), purpose=Consent.Purpose.VOICE_AUTHENTICATION, withdrawn_at=None
    )
    return Customer.objects.filter(Exists(current))


def _described(rows: list[Row]) -> TrainingData:
    return TrainingData(
        customers=frozenset(uuid.UUID(customer) for _, customer, _ in rows),
        samples=frozenset(uuid.UUID(path.rpartition("/")[2]) for path, _, _ in rows),
        held_out=sum(fold == HELD_OUT for _, _, fold in rows),
    )


def _complete(folder: Path, rows: list[Row]) -> bool:
    return all((folder / "data" / path).is_file() for path, _, _ in rows)


def _export(folder: Path, on_clip: Callable[[float], None]) -> list[Row]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove(folder / "data")
    _remove(folder / "output")
    (folder / "data").mkdir(mode=0o700)
    by_customer = exportable()
    for customer in _left_out(by_customer):
        del by_customer[customer]
    data_key = data_key_of(folder)
    total, rows = sum(map(len, by_customer.values())), []
    for customer, ids in by_customer.items():
        for position, sample_id in enumerate(ids):
            path = f"{customer}/{sample_id}"
            if _copied(sample_id, customer, folder / "data" / path, data_key):
                rows.append((path, str(customer), fold_of(position, len(ids))))
            on_clip(len(rows) / total)
    _write_manifest(folder, rows)
    return rows


def _left_out(by_customer: Mapping[uuid.UUID, Sequence[uuid.UUID]]) -> Collection[uuid.UUID]:
    """Return the customers on whom the model is to be tested. A frozen set tests it without them."""
    if settings.VOICEAUTH_FROZEN_SET_DIR is not None:
        return ()
    target_far = policies.in_force().verification.target_far
    return holding_out.choose({customer: len(samples) for customer, samples in by_customer.items()}, target_far)


@transaction.atomic
def _copied(sample_id: uuid.UUID, customer: uuid.UUID, copy: Path, data_key: bytes) -> bool:
    """Copy one recording; return false where it was erased.

    The customer's lock puts an erasure before the copy or after it.
    """
    Customer.objects.select_for_update().get(pk=customer)
    sample = AudioSample.objects.select_related("customer", "audio").filter(id=sample_id).first()
    if sample is None:
        return False
    try:
        audio = selectors.sample_audio(sample)
    except RecordingGone:
        return False
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(vault.seal(data_key, audio, sealed.context_of(f"{customer}/{sample_id}")))
    return True


def _exported(folder: Path) -> list[Row] | None:
    """Return the rows of an export; ``None`` where it is not complete. The manifest is written last."""
    import pandas as pd

    path = folder / "data" / "train.pq"
    return list(pd.read_parquet(path).itertuples(index=False, name=None)) if path.is_file() else None


def _write_manifest(folder: Path, rows: list[Row]) -> None:
    import pandas as pd

    incoming = folder / "data" / "train.pq.incoming"
    pd.DataFrame(rows, columns=["audio", "class", "fold"]).to_parquet(incoming)
    os.replace(incoming, folder / "data" / "train.pq")
