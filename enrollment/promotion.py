"""Putting a model into service: every voiceprint is made anew under it first, then one step switches.

Embeddings of two models cannot be compared, so the model in service stays until the last voiceprint of the
next one is there. Whatever is done already is not done again: a promotion resumes, and the way back to the
model retired last is instant, because its voiceprints are kept.
"""

import logging
import time
import uuid
from typing import TYPE_CHECKING

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Count

from mltraining import registry, scorer, shutdown
from mltraining.errors import InvalidAudio, ModelUnavailable
from mltraining.patience import patiently

from . import selectors, voiceprints
from .models import AudioSample, Customer, SampleEmbedding, Voiceprint

if TYPE_CHECKING:
    from mltraining.scorer import LoadedModel

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0


class _ShuttingDown(Exception):
    pass


def execute_promotion(version: str) -> None:
    """Carry out a promotion that was asked for; in the training worker. Nothing where another worker is at it."""
    if not patiently(lambda: registry.claim_promotion(version)):
        return
    try:
        model = patiently(lambda: scorer.load(version, device=_device()))
        unreadable: set[uuid.UUID] = set()
        while patiently(lambda: _missing(model.fingerprint, unreadable)):  # enrollment goes on meanwhile
            _embed_all(model, unreadable)
        for customer in patiently(lambda: _outdated(model.fingerprint)):
            patiently(lambda: _refresh(customer, model.fingerprint))  # noqa: B023 (called at once)
        patiently(lambda: _switch(model, unreadable))
    except _ShuttingDown:
        patiently(lambda: registry.release_promotion(version))
    except ModelUnavailable as error:
        code = error.code
        patiently(lambda: registry.abort_promotion(version, code=code))
    except Exception:
        logger.exception("promotion of %s broke", version)
        patiently(lambda: registry.abort_promotion(version, code="internal_error"))


@transaction.atomic
def _switch(model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    """Alone with the gallery: what came in between, the switch, and an end to voiceprints of older models."""
    voiceprints.lock_gallery(shared=False)
    for sample_id in _missing(model.fingerprint, unreadable):
        _embed(sample_id, model, unreadable)
    for customer in _outdated(model.fingerprint):
        _refresh(customer, model.fingerprint)
    kept = {model.fingerprint, *registry.fingerprints_in_service()}
    SampleEmbedding.objects.exclude(model_fingerprint__in=kept).delete()
    Voiceprint.objects.exclude(model_fingerprint__in=kept).delete()
    registry.finish_promotion(model.version)


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
        embedding = scorer.embed(selectors.sample_audio(sample), model)
        with transaction.atomic():
            voiceprints.store_embedding(sample, model.fingerprint, embedding)
    except IntegrityError:
        pass  # erased meanwhile
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
    embeddings = SampleEmbedding.objects.filter(model_fingerprint=fingerprint)
    counts = embeddings.values_list("sample__customer").annotate(count=Count("pk")).order_by()
    prints = Voiceprint.objects.filter(model_fingerprint=fingerprint).values_list("customer", "sample_count")
    have = dict(prints)
    return [customer for customer, count in counts if have.get(customer) != count]


def _save_progress(version: str, percent: float) -> None:
    try:
        registry.promotion_progress(version, percent)
    except (OperationalError, InterfaceError):
        connection.close()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
