"""The training set: the consented audio of enrolled customers, sealed under a key of the run's own.

One folder a run, ``VOICEAUTH_RUNS_DIR/<run id>`` (mode 0700)::

    data/<customer>/<sample>   the recordings, sealed; ``<customer>`` is our UUID, not the bank's identifier
    data/train.pq              columns audio (path below ``data``), class (customer), fold
    output/                    the training program's: checkpoints, pipeline, charts
    training.log

Only the training program opens the recordings, in its memory. They and the output (its class rows are voiceprints) go
when the run ends; the log stays.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from enrollment import selectors
from enrollment.models import AudioSample, Consent, Customer
from mltraining.speech.training import sealed
from voiceauth.platform import vault
from voiceauth.platform.storage import RecordingGone
from voiceauth.retraining.selectors import open_runs

FOLDS = 10  # a tenth of each customer's recordings is held out
HELD_OUT = 0  # the fold that the recipe holds out

Row = tuple[str, str, int]  # path below data, customer, fold


@dataclass(frozen=True)
class TrainingData:
    customers: frozenset[uuid.UUID]
    samples: frozenset[uuid.UUID]
    held_out: int

    def is_current(self) -> bool:
        """False once a recording in it was erased, or its customer withdrew the consent."""
        permitted = AudioSample.objects.filter(id__in=self.samples, customer__in=_consenting())
        return permitted.count() == len(self.samples)


def folder_of(run_id: uuid.UUID) -> Path:
    return Path(settings.VOICEAUTH_RUNS_DIR) / str(run_id)


def data_key_of(folder: Path) -> bytes:
    """The key (32 bytes) that a run's recordings are sealed under; the same at every attempt."""
    return vault.derived_key(f"training-data:{folder.name}")


def export_manifest(folder: Path, *, on_clip: Callable[[float], None] = lambda share: None) -> TrainingData:
    """Write ``folder/data``, or on a resume keep what is there.

    A resumed run keeps its recordings, so that it goes on from its checkpoint; new enrollments wait for the next
    run. Where a recording was erased since, the run starts anew without it: its output knows that voice.
    ``on_clip`` hears the share done (0 to 1) and may raise to stop.
    """
    rows = _exported(folder)
    if rows is None or not _described(rows).is_current() or not _complete(folder, rows):
        rows = _export(folder, on_clip)
    return _described(rows)


def forget_customer(customer: uuid.UUID) -> None:
    """Remove a customer's recordings from every run under way; its next attempt starts anew without them."""
    for folder in Path(settings.VOICEAUTH_RUNS_DIR).glob(f"*/data/{customer}"):
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the recordings and the output of runs that have ended, or that the database does not know.

    Runs in the training worker, which owns the files. Raises ``OSError`` where one cannot be removed.
    """
    root = Path(settings.VOICEAUTH_RUNS_DIR)
    folders = list(root.iterdir()) if root.is_dir() else []  # first: the row of a run is older than its folder
    kept = {str(run) for run in open_runs().values_list("id", flat=True)}
    for folder in folders:
        if folder.name not in kept:
            _remove(folder / "data")
            _remove(folder / "output")


def fold_of(position: int, clips: int) -> int:
    """The fold of a customer's recording number ``position`` (from 0) of ``clips``: round and round.

    The last of the first ten is held out; a lone recording is trained on.
    """
    return (position + 1) % min(FOLDS, clips) if clips > 1 else 1


def consenting(customers: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Those of ``customers`` who consent now, locked until the transaction ends: an erasure comes before or after."""
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
    customers = _consenting().filter(state=Customer.State.ENROLLED)
    samples = AudioSample.objects.filter(customer__in=customers, held_for=[]).order_by(
        "customer_id", "created_at", "id"
    )
    by_customer: dict[uuid.UUID, list[uuid.UUID]] = {}
    for sample_id, customer in samples.values_list("id", "customer_id"):
        by_customer.setdefault(customer, []).append(sample_id)
    data_key = data_key_of(folder)
    total, rows = sum(map(len, by_customer.values())), []
    for customer, ids in by_customer.items():
        (folder / "data" / str(customer)).mkdir()
        for position, sample_id in enumerate(ids):
            path = f"{customer}/{sample_id}"
            found = AudioSample.objects.select_related("customer", "audio").filter(id=sample_id)
            with contextlib.suppress(AudioSample.DoesNotExist, RecordingGone):  # erased a moment ago
                audio = selectors.sample_audio(found.get())
                (folder / "data" / path).write_bytes(vault.seal(data_key, audio, sealed.context_of(path)))
                rows.append((path, str(customer), fold_of(position, len(ids))))
            on_clip(len(rows) / total)
    _write_manifest(folder, rows)
    return rows


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _exported(folder: Path) -> list[Row] | None:
    """The rows of a complete export, which the manifest's presence tells."""
    import pandas as pd

    path = folder / "data" / "train.pq"
    return list(pd.read_parquet(path).itertuples(index=False, name=None)) if path.is_file() else None


def _write_manifest(folder: Path, rows: list[Row]) -> None:
    import pandas as pd

    incoming = folder / "data" / "train.pq.incoming"
    pd.DataFrame(rows, columns=["audio", "class", "fold"]).to_parquet(incoming)
    os.replace(incoming, folder / "data" / "train.pq")
