"""Putting a model into service: every voiceprint is made anew under it first, then one step switches.

Where there is a frozen set of trials, a candidate must first beat the model in service on it.
Embeddings of two models cannot be compared, so the model in service stays until the last voiceprint of the
next one is there. Whatever is done already is not done again: a promotion resumes, and the way back to the
model retired last is instant, because its voiceprints are kept.
"""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Count

from enrollment import selectors, voiceprints
from enrollment.models import AudioSample, Customer, SampleEmbedding, Voiceprint
from mltraining import recordings, registry, scorer
from mltraining.errors import InvalidAudio, ModelUnavailable
from mltraining.locks import lock_gallery
from mltraining.models import ModelVersion
from voiceauth.platform.jobs import shutdown
from voiceauth.platform.jobs.patience import patiently
from voiceauth.platform.storage import RecordingGone
from voiceauth.retraining import promotion_states
from voiceauth.retraining.errors import ChallengerNotBetter, FrozenSetUnusable
from voiceauth.retraining.training_settings import BASE_WEIGHTS
from voiceauth.screening import reembedding
from voiceauth.screening import voiceprints as fraudsters

if TYPE_CHECKING:
    from mltraining.scorer import LoadedModel

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0
BASE_MODEL = BASE_WEIGHTS.parent


class _ShuttingDown(Exception):
    pass


def install_base_model() -> ModelVersion | None:
    """Register the model that ships, once; ``None`` where it is known. On a fresh install it is in service at once.

    Where there are models or voices already it becomes a candidate, to be promoted like any other. Its exports for
    ONNX Runtime are built here, in a process of their own: torch is needed for it, and the caller need not keep it.
    """
    described = json.loads((BASE_MODEL / "pipeline.json").read_text(encoding="utf-8"))
    if ModelVersion.objects.filter(fingerprint=described["fingerprint"]).exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pipeline"
        shutil.copytree(BASE_MODEL, folder)
        subprocess.run(
            [sys.executable, "-m", "mltraining.speech", "export-onnx", str(folder)],
            cwd=settings.BASE_DIR,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        version = registry.install(pipeline=folder, charts=folder)
    model = registry.register(version=version)
    if ModelVersion.objects.exclude(version=version).exists() or AudioSample.objects.exists():
        return model
    return registry.put_first_in_service(version)


def execute_promotion(version: str) -> None:
    """Carry out a promotion that was asked for; in the training worker. Nothing where another worker is at it."""
    if not patiently(lambda: promotion_states.claim_promotion(version)):
        return
    try:
        model = patiently(lambda: scorer.load(version, device=_device()))
        _beat_the_champion(model)
        unreadable: set[uuid.UUID] = set()
        while patiently(lambda: _missing(model.fingerprint, unreadable)):  # enrollment goes on meanwhile
            _embed_all(model, unreadable)
        for customer in patiently(lambda: _outdated(model.fingerprint)):
            patiently(lambda: _refresh(customer, model.fingerprint))  # noqa: B023 (called at once)
        patiently(lambda: reembedding.reembed(model, _heartbeat(version, 99)))
        patiently(lambda: _switch(model, unreadable))
    except _ShuttingDown:
        patiently(lambda: promotion_states.release_promotion(version))
    except (ModelUnavailable, ChallengerNotBetter, FrozenSetUnusable) as error:
        code = error.code
        patiently(lambda: promotion_states.abort_promotion(version, code=code))
    except Exception:
        logger.exception("promotion of %s broke", version)
        patiently(lambda: promotion_states.abort_promotion(version, code="internal_error"))


def _beat_the_champion(model: "LoadedModel") -> None:
    """Nothing where there is no frozen set or no champion, or the model was in service before: the way back is free.

    Raises ``ChallengerNotBetter`` and ``FrozenSetUnusable`` unless the promotion is forced; ``ModelUnavailable``;
    ``_ShuttingDown``. The verdict is kept with the model in any case.
    """
    folder: Path | None = settings.VOICEAUTH_FROZEN_SET_DIR
    champion = patiently(lambda: registry.champion_of(model.version))
    if folder is None or champion is None:
        return
    forced = patiently(lambda: ModelVersion.objects.values_list("promotion_forced", flat=True).get(pk=model.version))
    from mltraining.speech.audio import noise
    from mltraining.speech.audio.errors import AudioError
    from mltraining.speech.evaluation import comparison, hearing

    beat = _heartbeat(model.version)
    try:
        groups = folder / "clips.parquet" if (folder / "clips.parquet").is_file() else None
        data = hearing.load(folder / "enrollment.csv", folder / "trials.csv", folder / "audio", groups, progress=beat)
        noises = noise.load(folder / "noise", "evaluation") if (folder / "noise").is_dir() else []
        conditions = hearing.chosen_conditions(noisy=bool(noises))
        against = patiently(lambda: scorer.load(champion, device=_device()))
        before, after = (
            hearing.hear(each.pipeline, data, conditions, noises, progress=beat) for each in (against, model)
        )
        verdict = comparison.compare(data, before, after, progress=beat)
    except (hearing.EvaluationError, AudioError, OSError) as error:
        logger.error("the frozen set %s cannot be scored: %s", folder, error)
        if forced:
            return
        raise FrozenSetUnusable from error
    patiently(lambda: registry.store_comparison(model.version, champion=champion, verdict=verdict.to_dict()))
    if not verdict.better and not forced:
        raise ChallengerNotBetter(reasons=verdict.reasons)


@transaction.atomic
def _switch(model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    """Alone with the gallery: what came in between, the switch, and an end to voiceprints of older models."""
    lock_gallery(shared=False)
    for sample_id in _missing(model.fingerprint, unreadable):
        _embed(sample_id, model, unreadable)
    for customer in _outdated(model.fingerprint):
        _refresh(customer, model.fingerprint)
    reembedding.reembed(model)
    kept = {model.fingerprint, *registry.fingerprints_in_service()}
    fraudsters.keep_only(kept)
    SampleEmbedding.objects.exclude(model_fingerprint__in=kept).delete()
    Voiceprint.objects.exclude(model_fingerprint__in=kept).delete()
    promotion_states.finish_promotion(model.version)


def _embed_all(model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    """An embedding under ``model`` for every sample that has none. Raises ``_ShuttingDown``."""
    total, todo = patiently(AudioSample.objects.count), patiently(lambda: _missing(model.fingerprint, unreadable))
    saved_at = 0.0
    for number, sample_id in enumerate(todo):
        if shutdown.in_progress():
            raise _ShuttingDown
        if time.monotonic() - saved_at > PROGRESS_SECONDS:
            saved_at = time.monotonic()
            _save_progress(model.version, 99 * (total - len(todo) + number) / max(1, total))
        patiently(lambda: _embed(sample_id, model, unreadable))  # noqa: B023 (called at once)


def _embed(sample_id: uuid.UUID, model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    sample = AudioSample.objects.select_related("customer", "audio").filter(id=sample_id).first()
    if sample is None:
        return  # erased meanwhile
    try:
        embedding = recordings.embed(selectors.sample_audio(sample), model)
        with transaction.atomic():
            voiceprints.store_embedding(sample, model.fingerprint, embedding)
    except IntegrityError:
        pass  # erased meanwhile
    except RecordingGone:
        if AudioSample.objects.filter(pk=sample_id).exists():  # else erased meanwhile
            logger.error("the storage has lost the recording of sample %s", sample_id)
            unreadable.add(sample_id)
    except InvalidAudio as error:
        # Accepted once, so a decoder has changed. One recording must not keep every customer from a model.
        logger.error("sample %s cannot be embedded under %s: %s", sample_id, model.version, error.code)
        unreadable.add(sample_id)


@transaction.atomic
def _refresh(customer_pk: uuid.UUID, fingerprint: str) -> None:
    customer = Customer.objects.select_for_update().filter(pk=customer_pk).first()
    if customer is not None:
        voiceprints.refresh_voiceprint(customer, fingerprint)


def _missing(fingerprint: str, unreadable: set[uuid.UUID]) -> list[uuid.UUID]:
    """The samples without an embedding under the model."""
    samples = AudioSample.objects.exclude(embeddings__model_fingerprint=fingerprint)
    return [pk for pk in samples.values_list("pk", flat=True) if pk not in unreadable]


def _outdated(fingerprint: str) -> list[uuid.UUID]:
    """The customers whose voiceprint under the model does not rest on all of their embeddings."""
    embeddings = SampleEmbedding.objects.filter(model_fingerprint=fingerprint, sample__held_for=[])
    counts = embeddings.values_list("sample__customer").annotate(count=Count("pk")).order_by()
    prints = Voiceprint.objects.filter(model_fingerprint=fingerprint).values_list("customer", "sample_count")
    have = dict(prints)
    return [customer for customer, count in counts if have.get(customer) != count]


def _heartbeat(version: str, percent: float = 0) -> Callable[[int, int], None]:
    """Keeps the promotion ours, at ``percent``, while something else is worked through.

    What it gives raises ``_ShuttingDown``.
    """
    beaten_at = 0.0

    def beat(done: int, total: int) -> None:
        nonlocal beaten_at
        if shutdown.in_progress():
            raise _ShuttingDown
        if time.monotonic() - beaten_at > PROGRESS_SECONDS:
            beaten_at = time.monotonic()
            _save_progress(version, percent)

    return beat


def _save_progress(version: str, percent: float) -> None:
    try:
        promotion_states.promotion_progress(version, percent)
    except (OperationalError, InterfaceError):
        connection.close()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
