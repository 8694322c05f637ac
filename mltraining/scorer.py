"""The scoring worker's models: loaded once, warmed, and switched without a cold request.

A daemon thread follows the registry: the active model, and the one being promoted, are loaded and have embedded once
before the first call needs them. Only worker-side code may import this module; torch is imported on first use.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.signals import worker_process_init
from django.db import Error as DatabaseError
from django.db import close_old_connections

from mltraining import calibrations, registry
from mltraining.errors import ModelUnavailable
from mltraining.models import Calibration, ModelVersion

if TYPE_CHECKING:
    from mltraining.speech.audio.waveform import Waveform
    from mltraining.speech.scoring.pipeline import ScoringPipeline

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
KEPT_MODELS = 2  # the active one and the one being promoted, or the one just retired


@dataclass(frozen=True)
class LoadedModel:
    """A registered model in memory, with the calibration in force when it was asked for."""

    version: str
    fingerprint: str
    pipeline: "ScoringPipeline"


_models: OrderedDict[str, LoadedModel] = OrderedDict()
_lock = threading.Lock()


def loaded_versions() -> list[str]:
    """List the versions in memory. It never waits for a load in progress."""
    return list(_models)


def active_model() -> LoadedModel | None:
    """Load the model in service; ``None`` where none was ever promoted. Raises ``ModelUnavailable``."""
    version = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).values_list("version", flat=True).first()
    return None if version is None else load(version)


def load(version: str, device: str = "cpu") -> LoadedModel:
    """Take the model ``version`` from memory or disk, verified against the registry. Raises ``ModelUnavailable``.

    Its calibration is looked up each time, so that a new one needs no restart.
    """
    calibration = calibrations.in_force(version)
    with _lock:
        if version not in _models:
            _models[version] = _read(version, device)
        if calibration is not None:
            _models[version] = _calibrated(_models[version], calibration)
        _models.move_to_end(version)
        while len(_models) > KEPT_MODELS:
            _models.popitem(last=False)
        return _models[version]


def _read(version: str, device: str) -> LoadedModel:
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
    pipeline.embed(_noise())  # the first pass through a network costs far more than the later ones
    return LoadedModel(version, fingerprint, pipeline)


def _calibrated(model: LoadedModel, by: Calibration) -> LoadedModel:
    """Return a copy of ``model`` under the calibration ``by``: a call in progress ends with the one it began with."""
    from mltraining.speech.scoring.calibration import Calibration as ScoreCalibration

    if (model.pipeline.calibration.version, model.pipeline.threshold) == (by.version, by.threshold):
        return model
    try:
        calibration = ScoreCalibration.from_dict(by.parameters)
    except (KeyError, TypeError, ValueError) as error:
        logger.error("calibration %s of model %s is damaged: %s", by.pk, model.version, error)
        raise ModelUnavailable(version=model.version) from error
    return replace(model, pipeline=model.pipeline.recalibrated(calibration, by.threshold))


def _noise() -> "Waveform":
    """Three seconds of noise to warm up with."""
    import numpy as np

    from mltraining.speech.audio.waveform import Waveform

    samples = np.random.default_rng(0).normal(0, 0.1, 8000 * 3).astype("float32")
    return Waveform(samples=samples, sample_rate=8000, container="wav", codec="pcm_s16le", channels=1)


@worker_process_init.connect
def _start_following(**_: Any) -> None:
    if "scoring" in current_app.amqp.queues.consume_from:
        threading.Thread(target=_follow, name="models", daemon=True).start()


def _follow() -> None:
    if "OMP_NUM_THREADS" not in os.environ:  # torch reads it; the launcher shares out the cores with it
        import torch

        torch.set_num_threads(1)
    from mltraining.speech.audio import quality

    quality.measure(_noise())  # enrollment measures a recording even without a model
    broken: set[str] = set()
    while True:
        close_old_connections()
        try:
            serving = ModelVersion.objects.filter(state__in=[ModelVersion.State.ACTIVE, ModelVersion.State.PROMOTING])
            for version in serving.values_list("version", flat=True):
                if version not in _models and version not in broken:
                    load(version)
                    logger.info("model %s is loaded and warm", version)
        except ModelUnavailable as error:
            broken.add(error.data["version"])  # logged once; the next call tries again
        except DatabaseError:
            pass  # the next round tries again
        except Exception:
            logger.exception("following the registry failed")  # calls still load what they need
        time.sleep(FOLLOW_SECONDS)
