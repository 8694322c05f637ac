"""Scoring a call against voiceprints: worker-side only."""

import base64
import time
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from enrollment import voiceprints
from enrollment.models import Customer
from mltraining import scorer
from voiceauth.verification import gallery
from voiceauth.verification.errors import NoActiveModel
from voiceauth.verification.gallery import Match


def score_call(*, audio: str, customer: str | None, candidates: list[str] | None, max_results: int) -> dict[str, Any]:
    """One recording (base64) against one voiceprint (verify) or many (identify), under the model in service.

    ``customer`` is the claimed customer's UUID; ``None`` searches the gallery, or ``candidates`` in it. Answers
    ``{quality, model: {version, fingerprint}, scores: [{customer_id, score, log_likelihood_ratio, probability}],
    enrollment_speech_seconds, threshold, calibration_version, milliseconds}``, scores the best first; without a
    voiceprint under this model there is no score. ``enrollment_speech_seconds`` is the claimed voiceprint's, null
    without one. Raises ``NoActiveModel``, ``ModelUnavailable`` and ``InvalidAudio``.
    """
    started = time.perf_counter()
    model = scorer.active_model()
    if model is None:
        raise NoActiveModel
    pipeline = model.pipeline
    analysis = scorer.analyse(base64.b64decode(audio), model)
    assert analysis.embedding is not None  # a model was given
    compare = partial(pipeline.compare, analysis.embedding, analysis.quality)
    matches: list[Match] = []
    enrollment_speech_seconds = None
    if customer is None:
        known = gallery.of_model(model.fingerprint, pipeline.dimensions, pipeline.cohort)
        matches = known.search(compare, candidates=candidates, limit=max_results)
    else:
        # Read afresh: one row, and no copy of it that could be stale.
        claimed = Customer.objects.filter(pk=UUID(customer)).first()
        voice = voiceprints.voiceprint_of(claimed, model.fingerprint) if claimed else None
        if claimed is not None and voice is not None:
            found = compare(voice.vector[None], voice.speech_seconds)
            numbers = (found.score, found.log_likelihood_ratio, found.probability)
            matches = [Match(claimed.customer_id, *(float(each[0]) for each in numbers))]
            enrollment_speech_seconds = voice.speech_seconds
    return {
        "quality": analysis.report(),
        "model": {"version": model.version, "fingerprint": model.fingerprint},
        "scores": [asdict(match) for match in matches],
        "enrollment_speech_seconds": enrollment_speech_seconds,
        "threshold": float(pipeline.threshold),
        "calibration_version": pipeline.calibration.version,
        "milliseconds": (time.perf_counter() - started) * 1000,
    }
