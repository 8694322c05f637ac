"""Screening a voice: against the fraudsters of all watchlists, and against the calls of the last hours.

Worker-side only. Both galleries stay in the worker's memory and follow the database (``mltraining.gallery``).
"""

import base64
from collections.abc import Collection, Iterable
from functools import partial
from math import log
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings

from mltraining import gallery, scorer
from mltraining.gallery import Entry, GalleryState, Nearest
from mltraining.scorer import Analysis, LoadedModel
from voiceauth.screening import velocity, voiceprints
from voiceauth.screening.models import FraudsterVoiceprint, RecentVoice
from voiceauth.screening.risk import KNOWN_FRAUDSTER

MAX_HITS = 5  # fraudsters that one call is told to sound like
MAX_CALLS = 200  # of one voice that velocity looks at


class Watched(gallery.Gallery):
    """The fraudsters of all watchlists, named by their id."""

    def read_state(self) -> GalleryState:
        return GalleryState.of(FraudsterVoiceprint.objects.filter(model_fingerprint=self.fingerprint))

    def read_revisions(self) -> dict[UUID, int]:
        rows = FraudsterVoiceprint.objects.filter(model_fingerprint=self.fingerprint)
        return dict(rows.values_list("fraudster_id", "revision"))

    def read_entries(self, *, after: int | None = None, owners: Collection[UUID] | None = None) -> Iterable[Entry]:
        return voiceprints.fraudster_entries(self.fingerprint, after=after, owners=owners)


class Recent(gallery.Gallery):
    """The calls of the last hours, named by the customer whom they claimed."""

    def read_state(self) -> GalleryState:
        return GalleryState.of(RecentVoice.objects.filter(model_fingerprint=self.fingerprint))

    def read_revisions(self) -> dict[UUID, int]:
        return dict(RecentVoice.objects.filter(model_fingerprint=self.fingerprint).values_list("pk", "revision"))

    def read_entries(self, *, after: int | None = None, owners: Collection[UUID] | None = None) -> Iterable[Entry]:
        return voiceprints.recent_entries(self.fingerprint, after=after, owners=owners)


watched, recent = gallery.Current(Watched), gallery.Current(Recent)


def screen(model: LoadedModel, analysis: Analysis, *, customer_id: str | None) -> dict[str, Any]:
    """What is suspicious about a voice that claims ``customer_id``, or claims nobody.

    Answers JSON values: ``{hits: [{reason, score, log_likelihood_ratio, …}], voice}``. A score is a probability.
    KNOWN_FRAUDSTER has a fraudster_id; VELOCITY the other customers whom the same voice claimed. ``voice`` is for
    ``services.act_on``, which remembers it. Without enough speech nothing is compared, and the voice is null.
    """
    if analysis.quality.speech_seconds < settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS:
        return {"hits": [], "voice": None}
    assert analysis.embedding is not None  # a model was given
    return {
        "hits": [*known(model, analysis), *claims(model, analysis, customer_id)],
        "voice": {
            "embedding": base64.b64encode(np.asarray(analysis.embedding, dtype="<f4").tobytes()).decode(),
            "model_fingerprint": model.fingerprint,
            "speech_seconds": float(analysis.quality.speech_seconds),
        },
    }


def known(model: LoadedModel, analysis: Analysis) -> list[dict[str, Any]]:
    """A hit for each of the fraudsters who sound like it, the likeliest first, ``MAX_HITS`` at most."""
    found = _similar(watched, model, analysis, settings.VOICEAUTH_WATCHLIST_THRESHOLD, MAX_HITS)
    return [
        {
            "reason": KNOWN_FRAUDSTER,
            "score": each.probability,
            "log_likelihood_ratio": each.log_likelihood_ratio,
            "fraudster_id": each.name,
        }
        for each in found
    ]


def claims(model: LoadedModel, analysis: Analysis, customer_id: str | None) -> list[dict[str, Any]]:
    """A hit where the voice has claimed many customers in the last hours, see ``velocity``."""
    if not settings.VOICEAUTH_VELOCITY_CUSTOMERS:
        return []
    calls = _similar(recent, model, analysis, settings.VOICEAUTH_VELOCITY_THRESHOLD, MAX_CALLS)
    return velocity.hits(calls, customer_id)


def analyse_fraudster(*, audio: str) -> dict[str, Any]:
    """One recording (base64) that is to go to a watchlist, under the model in service.

    Answers ``{speech_seconds, embedding: base64 of float32 | null, model_fingerprint | null, hits}``; hits are the
    fraudsters who sound like it. Raises ``ModelUnavailable`` and ``InvalidAudio``.
    """
    model = scorer.active_model()
    analysis = scorer.analyse(base64.b64decode(audio), model)
    found: dict[str, Any] = {"embedding": None, "model_fingerprint": None, "hits": []}
    if model is not None:
        assert analysis.embedding is not None
        found["embedding"] = base64.b64encode(np.asarray(analysis.embedding, dtype="<f4").tobytes()).decode()
        found["model_fingerprint"] = model.fingerprint
        found["hits"] = known(model, analysis)
    return found | {"speech_seconds": float(analysis.quality.speech_seconds)}


def _similar(
    voices: "gallery.Current[Any]", model: LoadedModel, analysis: Analysis, threshold: float, limit: int
) -> list[Nearest]:
    """The voices that are the call's. The threshold grows with their number (Bonferroni): of a list a hundred times
    as long, a stranger sounds like somebody no more often."""
    assert analysis.embedding is not None  # a model was given
    gathered = voices.of_model(model.fingerprint, model.pipeline.dimensions, model.pipeline.cohort)
    compare = partial(model.pipeline.compare, analysis.embedding, analysis.quality)
    found = gathered.nearest(compare, limit=limit)
    least = threshold + log(max(1, len(gathered)))
    return [each for each in found if each.log_likelihood_ratio >= least]
