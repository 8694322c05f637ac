"""The scoring worker's models: loaded once, warmed, and switched without a cold request.

A daemon thread follows the registry: the active model, and the one being promoted, are loaded and have
embedded once before the first call needs them. Only worker-side code calls into this module; torch is
imported on first use.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.signals import worker_process_init
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections

from mltraining import calibrations, registry
from mltraining.errors import INVALID_AUDIO, EmptyAudio, InvalidAudio, ModelUnavailable
from mltraining.models import Calibration, ModelVersion

if TYPE_CHECKING:
    import numpy as np

    from mltraining.speech.audio.decoding import Waveform
    from mltraining.speech.audio.quality import Quality
    from mltraining.speech.audio.redaction import Intervals
    from mltraining.speech.scoring.pipeline import ScoringPipeline

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
KEPT_MODELS = 2  # the active one and the one being promoted, or the one just retired


@dataclass(frozen=True)
class LoadedModel:
    version: str
    fingerprint: str
    pipeline: "ScoringPipeline"


@dataclass(frozen=True)
class Analysis:
    """What one recording gave: its quality and, where a model was given, its embedding (dimensions,)."""

    waveform: "Waveform"
    quality: "Quality"
    embedding: "np.ndarray | None"

    def report(self) -> dict[str, Any]:
        """The quality and format as JSON values: seconds, decibels, a ratio, Hz."""
        return {
            "duration_seconds": float(self.quality.duration_seconds),
            "speech_seconds": float(self.quality.speech_seconds),
            "snr_db": float(self.quality.snr_db),
            "clipping_ratio": float(self.quality.clipping_ratio),
            "container": self.waveform.container,
            "codec": self.waveform.codec,
            "sample_rate": int(self.waveform.sample_rate),
        }

    def fingerprint(self) -> bytes:
        """What the recording leaves, to be told again, see ``speech.replay``."""
        from mltraining.speech.audio import replay

        return replay.kept(self.views)

    @cached_property
    def views(self) -> "list[np.ndarray]":
        """What recordings heard before are asked with, see ``speech.replay``."""
        from mltraining.speech.audio import decoding as audio
        from mltraining.speech.audio import replay

        return replay.views(audio.resample(self.waveform.samples, self.waveform.sample_rate, replay.RATE))

    def redacted_recording(self) -> bytes:
        """What is left of a redacted recording, as a WAV file: the one that may be stored."""
        from mltraining.speech.audio import redaction

        return redaction.as_wav(self.waveform)


_models: OrderedDict[str, LoadedModel] = OrderedDict()
_lock = threading.Lock()


def loaded_versions() -> list[str]:
    """The versions in memory; never waits for a load in progress."""
    return list(_models)


def active_model() -> LoadedModel | None:
    """The model in service, loaded; ``None`` where none was ever promoted. Raises ``ModelUnavailable``."""
    version = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).values_list("version", flat=True).first()
    return None if version is None else load(version)


def load(version: str, device: str = "cpu") -> LoadedModel:
    """The model ``version`` from memory or disk, verified against the registry. Raises ``ModelUnavailable``.

    Its calibration is the one in force now: asked for each time, so that a new one needs no restart.
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


def analyse(audio: bytes, model: LoadedModel | None, redact: "Intervals" = ()) -> Analysis:
    """Decode, measure and, with a ``model``, embed one recording as uploaded, without what ``redact`` names.

    Raises the ``InvalidAudio`` subclass that names what is wrong with the recording, ``EmptyAudio`` where nothing
    is left of it.
    """
    from mltraining.speech.audio import quality, redaction

    waveform = _decode(audio)
    if redact:
        waveform = redaction.cut(waveform, redact)
        if not len(waveform.samples):
            raise EmptyAudio("Nothing is left of the recording.")
    embedding = None if model is None else model.pipeline.embed(waveform)
    return Analysis(waveform, quality.measure(waveform), embedding)


def embed(audio: bytes, model: LoadedModel) -> "np.ndarray":
    """(dimensions,) float32: the embedding alone, for a recording whose quality is known. Raises ``InvalidAudio``."""
    return model.pipeline.embed(_decode(audio))


def windows(analysis: Analysis, model: LoadedModel) -> "np.ndarray":
    """(windows, dimensions) float32: the embeddings of stretches of the recording's speech, see ``one_speaker``."""
    import numpy as np

    from mltraining.speech.audio import one_speaker

    found = [model.pipeline.embed(each) for each in one_speaker.windows(analysis.waveform)]
    return np.stack(found) if found else np.zeros((0, model.pipeline.dimensions), dtype=np.float32)


def _decode(audio: bytes) -> "Waveform":
    from mltraining.speech.audio import decoding as speech_audio

    try:
        return speech_audio.decode(audio, max_seconds=settings.VOICEAUTH_MAX_AUDIO_SECONDS)
    except speech_audio.AudioError as error:
        raise INVALID_AUDIO.get(error.code, InvalidAudio)(str(error)) from error


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
    """Another object: who scores with ``model`` right now ends with the calibration and threshold they began with."""
    from mltraining.speech.scoring import scores as scoring

    if (model.pipeline.calibration.version, model.pipeline.threshold) == (by.version, by.threshold):
        return model
    try:
        calibration = scoring.Calibration.from_dict(by.parameters)
    except (KeyError, TypeError, ValueError) as error:
        logger.error("calibration %s of model %s is damaged: %s", by.pk, model.version, error)
        raise ModelUnavailable(version=model.version) from error
    return replace(model, pipeline=model.pipeline.recalibrated(calibration, by.threshold))


def _noise() -> "Waveform":
    """Three seconds to warm up with."""
    import numpy as np

    from mltraining.speech.audio.decoding import Waveform

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

    quality.measure(_noise())  # enrollment measures, with or without a model
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
            broken.add(error.data["version"])  # said once; a call tries again
        except DatabaseError:
            pass  # it comes back; so do we
        except Exception:
            logger.exception("following the registry failed")  # the calls go on; they load what they need
        time.sleep(FOLLOW_SECONDS)
