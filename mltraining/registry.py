"""Services on the registry of models: files under ``VOICEAUTH_MODELS_DIR/<version>``, rows in ``ModelVersion``.

Where models are kept in a bucket (``model_store``), the folder holds this machine's copies.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from mltraining import calibrations, model_store
from mltraining.calibrations import MeasuredOn
from mltraining.errors import ModelUnavailable, ModelUnchanged
from mltraining.figures import finite
from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record

logger = logging.getLogger(__name__)

State = ModelVersion.State
RETRY_SECONDS = 10.0  # between two attempts of a process to fetch a model

# What a model keeps of a training run. Its class rows are voiceprints and their names are customers:
# they stay behind, as does every chart that names a class.
TRAINED_FILES = ("encoder.safetensors", "pipeline.json")
IMPORTED_FILES = ("encoder.onnx", "pipeline.json")
COHORT = "cohort.safetensors"  # of speakers who are no secret, where there is one
# Exports for ONNX Runtime, where the run built them, and the mean that is subtracted from an imported encoder's answer.
OPTIONAL_FILES = ("encoder.onnx", "encoder-int8.onnx", "centre.safetensors", COHORT)
CHARTS = ("losses.png", "roc.png", "score_histogram.png")

_next_attempt: dict[str, float] = {}  # of versions that could not be fetched; by ``time.monotonic``


def folder_of(version: str) -> Path:
    """Return the folder for the files of ``version`` on this machine."""
    return Path(settings.VOICEAUTH_MODELS_DIR) / version


def must_be_fetched(version: str) -> bool:
    """Return whether the files of ``version`` are not on this machine, but may be in the store."""
    return model_store.is_used() and not folder_of(version).exists()


def fetch(version: str) -> Path:
    """Return the folder of a registered version, fetched from the store if it is there and not here.

    Raises ``ModelUnavailable``: at once where another attempt failed less than ``RETRY_SECONDS`` ago.
    """
    folder = folder_of(version)
    if not must_be_fetched(version):
        return folder
    if time.monotonic() < _next_attempt.get(version, 0.0):
        raise ModelUnavailable(version=version)
    fingerprint = ModelVersion.objects.values_list("fingerprint", flat=True).get(pk=version)
    try:
        model_store.fetch(version, fingerprint, folder)
    except model_store.StoreError as error:
        _next_attempt[version] = time.monotonic() + RETRY_SECONDS
        logger.error("model %s", error)
        raise ModelUnavailable(version=version) from error
    logger.info("model %s was fetched", version)
    return folder


def store_missing(again: Collection[str] = ()) -> list[str]:
    """Store the registered versions that are on this machine and not in the store, and return them.

    Those of ``again`` are stored even so. Raises ``StoreError``.
    """
    stored = []
    for version in ModelVersion.objects.values_list("version", flat=True):
        if folder_of(version).exists() and (version in again or not model_store.has(version)):
            model_store.upload(version, folder_of(version))
            stored.append(version)
    return stored


def charts_of(version: str) -> list[Path]:
    """List the charts that are kept with a registered version; none while its files cannot be fetched."""
    try:
        folder = fetch(version) / "charts"
    except ModelUnavailable:
        return []
    return [path for name in CHARTS if (path := folder / name).is_file()]


def install(*, pipeline: Path, charts: Path, private: Collection[str] = ()) -> str:
    """Copy a trained or imported pipeline into the models' folder in one step (rename), and return its new version.

    Where models are kept in a bucket, it is stored there as well. Raises ``ValueError`` where its description holds
    one of the ``private`` words (the class names), or a cohort was made of them, ``ModelUnchanged`` where it was
    installed this very second, and ``StoreError``.
    """
    text = (pipeline / "pipeline.json").read_text(encoding="utf-8")
    if any(word in text for word in private):
        raise ValueError("pipeline.json names a customer")
    if private and (pipeline / COHORT).exists():
        raise ValueError("a cohort of customers would keep their voiceprints")  # none could be forgotten
    described = json.loads(text)
    version = f"{timezone.now():%Y%m%d-%H%M%S}-{described['fingerprint'][:6]}"
    folder = folder_of(version)
    if folder.exists():
        raise ModelUnchanged(version=version)
    incoming = folder.with_name(f".incoming-{version}")
    if incoming.exists():  # of an attempt that was cut off
        shutil.rmtree(incoming)
    (incoming / "charts").mkdir(parents=True)
    needed = IMPORTED_FILES if described.get("imported") else TRAINED_FILES
    for name in {*needed, *OPTIONAL_FILES}:
        if name in needed or (pipeline / name).is_file():
            shutil.copyfile(pipeline / name, incoming / name)
    for name in CHARTS:
        if (charts / name).is_file():
            shutil.copyfile(charts / name, incoming / "charts" / name)
    os.replace(incoming, folder)
    if model_store.is_used():
        try:
            model_store.upload(version, folder)
        except model_store.StoreError:
            uninstall(version)
            raise
    return version


def uninstall(version: str) -> None:
    """Remove the files of a version that did not come to be registered, here and in the store."""
    folder = folder_of(version)
    if folder.exists():
        shutil.rmtree(folder)
    if model_store.is_used():
        try:
            model_store.delete(version)
        except model_store.StoreError as error:  # nobody asks for a version that is not registered
            logger.warning("model %s", error)


def register(*, version: str, actor: Actor = SYSTEM) -> ModelVersion:
    """Register an installed version as a CANDIDATE. Raises ``ModelUnchanged`` where its fingerprint is known."""
    described: dict[str, Any] = json.loads((folder_of(version) / "pipeline.json").read_text(encoding="utf-8"))
    fingerprint = described["fingerprint"]
    with transaction.atomic():
        if known := ModelVersion.objects.filter(fingerprint=fingerprint).first():
            raise ModelUnchanged(version=known.version)
        model = ModelVersion.objects.create(
            version=version,
            fingerprint=fingerprint,
            calibration_version=described["calibration"]["version"],
            metrics=finite(described["metrics"]),
            config=described["config"],
            data_hash=described["data_hash"],
            imported=described.get("imported"),
        )
        calibrations.store(model, described["calibration"], measured_on(described), actor)
        about = {name: text for name, text in (model.imported or {}).items() if name != "licence_text"}
        after = {"state": State.CANDIDATE, "fingerprint": fingerprint}
        record_event("registered", model, actor, said={"imported": about} if about else None, after=after)
    return model


def measured_on(described: dict[str, Any]) -> MeasuredOn:
    """Return what ``pipeline.json`` says about the trials of its calibration.

    Without the entry ``calibrated_on``, the training fitted it on clips that it held out, of its own speakers.
    """
    if stated := described.get("calibrated_on"):
        return MeasuredOn(**stated)
    metrics = described["metrics"]
    return MeasuredOn(
        target_trials=metrics.get("target_trials", 0),
        impostor_trials=metrics.get("impostor_trials", 0),
        speakers=0,
        strangers=False,
        source="recordings that the training held out, of the speakers it trained on",
    )


def put_first_in_service(version: str) -> ModelVersion:
    """Move a CANDIDATE to ACTIVE at once: no model was in service before, so there is no voice to embed again."""
    with transaction.atomic():
        put_in_service(version)
        model = ModelVersion.objects.get(version=version)
        after = {"active": version}
        record_event("promoted", model, SYSTEM, before={"active": None}, after=after)
    return model


@transaction.atomic
def put_in_service(version: str) -> ModelVersion | None:
    """ACTIVE -> RETIRED for the model in service, then ``version`` -> ACTIVE. Return the model that was retired.

    The caller has made sure that every customer has a voiceprint under ``version``, and records the event.
    """
    retired = ModelVersion.objects.select_for_update().filter(state=State.ACTIVE).first()
    if retired is not None:
        ModelVersion.objects.filter(version=retired.version).update(state=State.RETIRED)
    ModelVersion.objects.filter(version=version).update(state=State.ACTIVE, activated_at=timezone.now())
    return retired


def store_evaluation(version: str, figures: dict[str, Any], *, source: str, actor: Actor = SYSTEM) -> None:
    """Store what an evaluation measured in the model's metrics, in place of an earlier one's.

    ``source`` names the trials for people.
    """
    _add_metrics(version, "evaluation", figures | {"source": source}, "evaluated", actor, source=source)


def store_comparison(version: str, *, champion: str, verdict: dict[str, Any]) -> None:
    """Store how the model compares with the champion on the frozen set, and record the reasons in the trail."""
    said = {"better": verdict["better"], "reasons": verdict["reasons"]}
    _add_metrics(version, "comparison", {"champion": champion} | verdict, "compared", SYSTEM, champion=champion, **said)


def _add_metrics(version: str, name: str, content: dict[str, Any], event: str, actor: Actor, **said: Any) -> None:
    with transaction.atomic():
        model = ModelVersion.objects.select_for_update().get(version=version)
        model.metrics = model.metrics | {name: finite(content)}
        model.save(update_fields=["metrics"])
        record_event(event, model, actor, said=said)


def champion_of(version: str) -> str | None:
    """Return the active model that ``version`` must beat; ``None`` where there is none, or it was in service before."""
    if ModelVersion.objects.filter(version=version, activated_at__isnull=False).exists():
        return None
    return ModelVersion.objects.filter(state=State.ACTIVE).values_list("version", flat=True).first()


def model_fingerprints_in_service() -> list[str]:
    """List the fingerprints of the model in service and, during a promotion, of the one that follows it."""
    serving = ModelVersion.objects.filter(state__in=[State.ACTIVE, State.PROMOTING])
    return list(serving.values_list("fingerprint", flat=True))


def record_event(
    event: str, model: ModelVersion, actor: Actor, said: dict[str, Any] | None = None, **fields: Any
) -> None:
    """Record an event of a model in the audit trail. ``said`` is its data."""
    record(
        action=f"model.{event}",
        actor=actor,
        target=f"model:{model.version}",
        model_version=model.version,
        data=said or {},
        **fields,
    )
