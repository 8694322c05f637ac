"""Embedding the fraudsters' recordings anew, under a model that is being promoted. Worker-side only."""

import logging
from collections.abc import Callable

from django.db import IntegrityError, transaction

from mltraining import recordings
from mltraining.errors import InvalidAudio
from mltraining.scorer import LoadedModel
from voiceauth.platform import storage as audio_store
from voiceauth.screening import keys, voiceprints
from voiceauth.screening.models import Fraudster

logger = logging.getLogger(__name__)


def reembed(model: LoadedModel, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Store a voiceprint under ``model`` for every fraudster who has none.

    A recording that can no longer be decoded is logged and left out. ``progress(done, total)`` may raise to stop.
    """
    todo = list(
        Fraudster.objects.exclude(voiceprints__model_fingerprint=model.fingerprint).values_list("pk", flat=True)
    )
    for done, pk in enumerate(todo):
        progress(done, len(todo))
        fraudster = Fraudster.objects.select_related("audio").filter(pk=pk).first()
        if fraudster is None:
            continue  # erased meanwhile
        try:
            vector = recordings.embed(keys.unseal_audio(fraudster, audio_store.read(fraudster.audio.content)), model)
            with transaction.atomic():
                voiceprints.store(fraudster, model.fingerprint, vector)
        except IntegrityError:
            pass  # erased meanwhile
        except InvalidAudio as error:
            logger.error("fraudster %s cannot be embedded under %s: %s", pk, model.version, error.code)
