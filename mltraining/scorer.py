"""The scoring worker's models: loaded once, warmed, and switched without a cold request.

A daemon thread follows the registry: the active model, and the one being promoted, are loaded and have embedded once
before the first call needs them. Only worker-side code may import this module; the speech library is imported on first
use. A model that this library trained is served by ONNX Runtime, without torch.
"""

import ctypes
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.signals import worker_process_init
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import FilteredRelation, Q, QuerySet

from mltraining import decoding, registry
from mltraining.errors import ModelUnavailable
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform import memory
from voiceauth.platform.errors import DomainError

if TYPE_CHECKING:
    from mltraining.speech.audio.waveform import Waveform
    from mltraining.speech.scoring.pipeline import ScoringPipeline

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
KEEP_SECONDS = 0.5
SWITCH_SECONDS = 5e-4  # that a call waits for the thread that makes an index, each time that both want the interpreter
KEPT_MODELS = 2  # the active one and the one being promoted, or the one just retired


@dataclass(frozen=True)
class LoadedModel:
    """A registered model in memory, with the calibration in force when it was asked for."""

    version: str
    fingerprint: str
    pipeline: "ScoringPipeline"  # scores by ``calibration``
    calibration: Calibration


Keep = Callable[[list[LoadedModel]], None]

_keeps: list[Keep] = []
_models: OrderedDict[str, LoadedModel] = OrderedDict()
_broken: set[str] = set()  # versions that could not be loaded
_lock = threading.Lock()


def register(keep: Keep) -> None:
    """Have ``keep`` called twice a second in every scoring process, with the models that are in memory."""
    _keeps.append(keep)


def loaded_versions() -> list[str]:
    """List the versions in memory. It never waits for a load in progress."""
    return list(_models)


def active_model() -> LoadedModel | None:
    """Load the model in service; ``None`` where none was ever promoted. Raises ``ModelUnavailable``."""
    found = _with_calibration().filter(state=ModelVersion.State.ACTIVE).first()
    return None if found is None else _loaded(*found, device="cpu")


def load(version: str, device: str = "cpu") -> LoadedModel:
    """Take the model ``version`` from memory, disk or the store, verified against the registry.

    Raises ``ModelUnavailable``.
    """
    found = _with_calibration().filter(pk=version).first()
    if found is None:
        raise ModelUnavailable(version=version)
    return _loaded(*found, device=device)


def _with_calibration() -> "QuerySet[ModelVersion, tuple[str, int | None]]":
    """The versions of models, each with the id of its calibration in force."""
    in_force = FilteredRelation("calibrations", condition=Q(calibrations__active=True))
    return ModelVersion.objects.annotate(in_force=in_force).values_list("version", "in_force")


def _loaded(version: str, calibration: int | None, device: str) -> LoadedModel:
    """Its calibration is looked up each time, so that a new one needs no restart. The row of one never changes."""
    if calibration is None:
        raise ModelUnavailable(version=version)
    if version not in _models:
        registry.fetch(version)  # calls that need another model do not wait for it
    with _lock:
        known = _models.get(version)
        if known is None or known.calibration.pk != calibration:
            by = Calibration.objects.get(pk=calibration)
            pipeline = _calibrated(known.pipeline if known else _read(version, device), by)
            _models[version] = LoadedModel(version, pipeline.fingerprint, pipeline, by)
        _models.move_to_end(version)
        while len(_models) > KEPT_MODELS:
            _models.popitem(last=False)
        return _models[version]


def _read(version: str, device: str) -> "ScoringPipeline":
    from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline

    fingerprint = ModelVersion.objects.values_list("fingerprint", flat=True).get(pk=version)
    try:
        pipeline = ScoringPipeline.load(registry.folder_of(version), device=device)
    except (PipelineError, OSError, ValueError) as error:
        logger.error("model %s cannot be loaded: %s", version, error)
        raise ModelUnavailable(version=version) from error
    if pipeline.fingerprint != fingerprint:
        logger.error("model %s has fingerprint %s, not the registered %s", version, pipeline.fingerprint, fingerprint)
        raise ModelUnavailable(version=version)
    _give_memory_back()
    pipeline.embed(_noise())  # the first pass through a network costs far more than the later ones
    return pipeline


def _give_memory_back() -> None:
    """Return to the system what loading used and nobody needs any more: up to the size of the model (glibc)."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _calibrated(pipeline: "ScoringPipeline", by: Calibration) -> "ScoringPipeline":
    """Return a copy under the calibration ``by``, so that a call in progress ends with the one it began with."""
    from mltraining.speech.scoring.calibration import Calibration as ScoreCalibration

    try:
        calibration = ScoreCalibration.from_dict(by.parameters)
    except (KeyError, TypeError, ValueError) as error:
        logger.error("calibration %s of model %s is damaged: %s", by.pk, by.model_id, error)
        raise ModelUnavailable(version=by.model_id) from error
    return pipeline.recalibrated(calibration, pipeline.threshold)


def _noise() -> "Waveform":
    """Three seconds of noise to warm up with."""
    import numpy as np

    from mltraining.speech.audio.waveform import Waveform

    samples = np.random.default_rng(0).normal(0, 0.1, 8000 * 3).astype("float32")
    return Waveform(samples=samples, sample_rate=8000, container="wav", codec="pcm_s16le", channels=1)


@worker_process_init.connect
def _start_following(**_: Any) -> None:
    if "scoring" in current_app.amqp.queues.consume_from:
        _prepare()  # it takes no call before
        memory.settle()
        threading.Thread(target=_follow, name="models", daemon=True).start()
        sys.setswitchinterval(SWITCH_SECONDS)
        threading.Thread(target=_keep, name="galleries", daemon=True).start()


def _keep() -> None:
    while True:
        close_old_connections()
        try:
            for keep in _keeps:
                keep(list(_models.values()))
        except (DatabaseError, DomainError):
            pass  # the next round tries again
        except Exception:
            logger.exception("following the gallery failed")  # searches still follow it themselves
        time.sleep(KEEP_SECONDS)


def _prepare() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the launcher shares out the cores with it
    from mltraining.speech.audio import quality

    decoding.start()
    quality.measure(_noise())  # enrollment measures a recording even without a model
    _load_what_serves()


def _follow() -> None:
    while True:
        time.sleep(FOLLOW_SECONDS)
        _load_what_serves()


def _load_what_serves() -> None:
    close_old_connections()
    try:
        serving = ModelVersion.objects.filter(state__in=[ModelVersion.State.ACTIVE, ModelVersion.State.PROMOTING])
        for version in serving.values_list("version", flat=True):
            if version not in _models and version not in _broken:
                _load_beforehand(version)
    except DatabaseError:
        pass  # the next round tries again
    except Exception:
        logger.exception("following the registry failed")  # calls still load what they need


def _load_beforehand(version: str) -> None:
    try:
        load(version)
        logger.info("model %s is loaded and warm", version)
    except ModelUnavailable:
        if not registry.must_be_fetched(version):  # else a later round tries again
            _broken.add(version)  # logged once; the next call tries again
