"""Carrying a promotion out: every voiceprint is made again under the new model first, then one step switches.

Where there is a frozen set of trials, a candidate must first beat the model in service on it.
Embeddings of two models cannot be compared, so the model in service stays until the last voiceprint under the next
one exists. What is done already is not done again: a promotion resumes, and going back to the model that was retired
last is instant, because its voiceprints are kept.
"""

import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count

from enrollment import selectors, voiceprints
from enrollment.models import AudioSample, Customer, SampleEmbedding, Voiceprint
from mltraining import recordings, registry, scorer
from mltraining.errors import InvalidAudio
from mltraining.locks import lock_gallery
from voiceauth.platform.jobs import runner
from voiceauth.platform.jobs.patience import patiently
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.platform.storage import RecordingGone
from voiceauth.retraining import evidence
from voiceauth.retraining.errors import ChallengerNotBetter, FrozenSetUnusable
from voiceauth.retraining.models import Promotion
from voiceauth.screening import reembedding
from voiceauth.screening import voiceprints as fraudsters

if TYPE_CHECKING:
    from mltraining.scorer import LoadedModel

logger = logging.getLogger(__name__)

EMBEDDING_PERCENT = 99.0  # of a promotion's progress


def execute(promotion_id: uuid.UUID) -> None:
    """Carry a queued promotion out."""
    runner.run(Promotion, promotion_id, carry_out)


def carry_out(attempt: Attempt[Promotion]) -> None:
    """Compare, embed and switch. Raises ``DomainError`` where the model cannot be promoted, and ``AttemptStopped``."""
    model = patiently(scorer.load, attempt.job.model_id, device=_device())
    attempt.check(phase="comparing")
    _beat_the_champion(attempt, model)
    attempt.check(phase="embedding")
    unreadable: set[uuid.UUID] = set()
    while missing := patiently(_missing, model, unreadable):  # enrollment goes on meanwhile
        _embed_all(attempt, model, missing, unreadable)
    for customer in patiently(_outdated, model):
        attempt.check()
        patiently(_refresh, customer, model)
    patiently(reembedding.reembed, model, lambda done, total: attempt.check())
    patiently(_switch, attempt, model, unreadable)


def _beat_the_champion(attempt: Attempt[Promotion], model: "LoadedModel") -> None:
    """Compare the model with the one in service on the frozen set, and keep the verdict with it.

    Nothing is compared where there is no frozen set or no model in service, or where the model was in service before.
    Unless the promotion is forced, raises ``ChallengerNotBetter`` and ``FrozenSetUnusable``.
    """
    folder: Path | None = settings.VOICEAUTH_FROZEN_SET_DIR
    champion = patiently(registry.champion_of, model.version)
    if folder is None or champion is None:
        return
    from mltraining.speech.audio.errors import AudioError
    from mltraining.speech.evaluation import comparison, conditions
    from mltraining.speech.evaluation.trials import EvaluationError

    def beat(done: int, total: int) -> None:
        attempt.check()

    try:
        audio, noises = conditions.load_speech_folder(folder, progress=beat)
        chosen = conditions.chosen_conditions(noisy=bool(noises))
        against = patiently(scorer.load, champion, device=_device())
        before, after = (
            conditions.score_in_conditions(each.pipeline, audio, chosen, noises, progress=beat)
            for each in (against, model)
        )
        read_by = (against.pipeline.calibration, model.pipeline.calibration)
        verdict = comparison.compare(audio, before, after, calibrations=read_by, progress=beat)
    except (EvaluationError, AudioError, OSError) as error:
        logger.error("the frozen set cannot be scored: %s", getattr(error, "code", type(error).__name__))
        if attempt.job.forced:
            return
        raise FrozenSetUnusable from error
    patiently(registry.store_comparison, model.version, champion=champion, verdict=verdict.to_dict())
    if not verdict.better and not attempt.job.forced:
        raise ChallengerNotBetter(reasons=verdict.reasons)


def _embed_all(
    attempt: Attempt[Promotion], model: "LoadedModel", missing: list[uuid.UUID], unreadable: set[uuid.UUID]
) -> None:
    total = patiently(AudioSample.objects.count)
    for number, sample_id in enumerate(missing):
        done = total - len(missing) + number
        attempt.check(progress_percent=EMBEDDING_PERCENT * max(0, done) / max(1, total))
        patiently(_embed, sample_id, model, unreadable)


@transaction.atomic
def _switch(attempt: Attempt[Promotion], model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    """Alone with the gallery: embed what came in meanwhile, switch, and delete voiceprints of older models."""
    lock_gallery(shared=False)
    if not attempt.hold():
        return
    evidence.require(attempt.job.model, forced=attempt.job.forced)  # the policy may have changed meanwhile
    for sample_id in _missing(model, unreadable):
        _embed(sample_id, model, unreadable)
    for customer in _outdated(model):
        _refresh(customer, model)
    reembedding.reembed(model)
    kept = {model.fingerprint, *registry.model_fingerprints_in_service()}
    fraudsters.keep_only(kept)
    SampleEmbedding.objects.exclude(model_fingerprint__in=kept).delete()
    Voiceprint.objects.exclude(model_fingerprint__in=kept).delete()
    attempt.succeed(replaced=registry.put_in_service(model.version))


def _embed(sample_id: uuid.UUID, model: "LoadedModel", unreadable: set[uuid.UUID]) -> None:
    """Store the sample's embedding under the model; add to ``unreadable`` a recording that has none."""
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
        # It was accepted once, so a decoder has changed. One recording must not keep every customer from a model.
        logger.error("sample %s cannot be embedded under %s: %s", sample_id, model.version, error.code)
        unreadable.add(sample_id)


@transaction.atomic
def _refresh(customer_pk: uuid.UUID, model: "LoadedModel") -> None:
    customer = Customer.objects.select_for_update().filter(pk=customer_pk).first()
    if customer is not None:
        voiceprints.refresh_voiceprint(customer, model.fingerprint)


def _missing(model: "LoadedModel", unreadable: set[uuid.UUID]) -> list[uuid.UUID]:
    """Return the samples without an embedding under the model."""
    samples = AudioSample.objects.exclude(embeddings__model_fingerprint=model.fingerprint)
    return [pk for pk in samples.values_list("pk", flat=True) if pk not in unreadable]


def _outdated(model: "LoadedModel") -> list[uuid.UUID]:
    """Return the customers whose voiceprint under the model does not rest on all of their embeddings."""
    embeddings = SampleEmbedding.objects.filter(model_fingerprint=model.fingerprint, sample__held_for=[])
    counts = embeddings.values_list("sample__customer").annotate(count=Count("pk")).order_by()
    prints = Voiceprint.objects.filter(model_fingerprint=model.fingerprint).values_list("customer", "sample_count")
    have = dict(prints)
    return [customer for customer, count in counts if have.get(customer) != count]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
