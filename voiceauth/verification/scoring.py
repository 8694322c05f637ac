"""Scoring a call against voiceprints: worker-side only."""

import base64
import time
from typing import Any
from uuid import UUID

from enrollment import voiceprints
from enrollment.models import Customer
from mltraining import scorer
from voiceauth.verification import gallery
from voiceauth.verification.errors import NoActiveModel


def score_call(*, audio: str, customer: str | None, candidates: list[str] | None, max_results: int) -> dict[str, Any]:
    """One recording (base64) against one voiceprint (verify) or many (identify), under the model in service.

    ``customer`` is the claimed customer's UUID; ``None`` searches the gallery, or ``candidates`` in it. Answers
    ``{quality, model: {version, fingerprint}, scores: [{customer_id, score, log_likelihood_ratio, probability}],
    threshold, calibration_version, milliseconds}``, scores the best first; without a voiceprint under this
    model there is no score. Raises ``NoActiveModel``, ``ModelUnavailable`` and ``InvalidAudio``.
    """
    started = time.perf_counter()
    model = scorer.active_model()
    if model is None:
        raise NoActiveModel
    analysis = scorer.analyse(base64.b64decode(audio), model)
    assert analysis.embedding is not None  # a model was given
    if customer is None:
        vectors = gallery.of_model(model.fingerprint, model.pipeline.dimensions)
        cosines = vectors.search(analysis.embedding, candidates=candidates, limit=max_results)
    else:
        # Read afresh: one row, and no copy of it that could be stale.
        claimed = Customer.objects.filter(pk=UUID(customer)).first()
        voiceprint = voiceprints.voiceprint_of(claimed, model.fingerprint) if claimed else None
        cosines = []
        if claimed is not None and voiceprint is not None:
            cosines = [(claimed.customer_id, float(voiceprint @ analysis.embedding))]
    calibration = model.pipeline.calibration
    scores = []
    for customer_id, cosine in cosines:
        ratio = float(calibration.log_likelihood_ratio(cosine))
        scores.append(
            {
                "customer_id": customer_id,
                "score": cosine,
                "log_likelihood_ratio": ratio,
                "probability": float(calibration.probability(ratio)),
            }
        )
    return {
        "quality": analysis.report(),
        "model": {"version": model.version, "fingerprint": model.fingerprint},
        "scores": scores,
        "threshold": float(model.pipeline.threshold),
        "calibration_version": calibration.version,
        "milliseconds": (time.perf_counter() - started) * 1000,
    }
