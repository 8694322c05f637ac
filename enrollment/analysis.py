"""What a scoring worker finds out about a recording that is to be enrolled: worker-side only."""

import base64
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

from enrollment import gallery, replay, voiceprints
from enrollment.models import Customer
from mltraining import scorer
from mltraining.scorer import Analysis, LoadedModel
from voiceauth.screening import watch

MAX_DUPLICATES = 3


def analyse_sample(*, audio: str, customer: str, redact: list[list[float]]) -> dict[str, Any]:
    """One recording (base64) of a customer, named by UUID, without what ``redact`` names, under the model in service.

    Answers ``{quality, voice: {separation, cohesion_llr, duplicates, hits}, embedding: base64 of float32 | null,
    model: {version, fingerprint} | null, recording: base64 | null, fingerprint: base64}``; ``recording`` is what is
    left of a redacted one, ``fingerprint`` what tells the recording again.
    Raises ``ModelUnavailable`` and ``InvalidAudio``.
    """
    model = scorer.active_model()
    analysis = scorer.analyse(base64.b64decode(audio), model, [(start, end) for start, end in redact])
    answer: dict[str, Any] = {
        "quality": analysis.report(),
        "voice": {},
        "embedding": None,
        "model": None,
        "recording": base64.b64encode(analysis.redacted_recording()).decode() if redact else None,
    }
    known_as = Customer.objects.filter(pk=UUID(customer)).first()
    replayed = replay.hits(known_as, analysis)
    answer["voice"] = {"hits": replayed}
    answer["fingerprint"] = base64.b64encode(analysis.fingerprint()).decode()
    if model is not None:
        assert analysis.embedding is not None
        answer["voice"] = _voice(analysis, model, known_as)
        answer["voice"]["hits"] += replayed
        answer["embedding"] = base64.b64encode(np.asarray(analysis.embedding, dtype="<f4").tobytes()).decode()
        answer["model"] = {"version": model.version, "fingerprint": model.fingerprint}
    return answer


def _voice(analysis: Analysis, model: LoadedModel, customer: Customer | None) -> dict[str, Any]:
    from mltraining.speech.audio import one_speaker

    assert analysis.embedding is not None  # a model was given
    compare = partial(model.pipeline.compare, analysis.embedding, analysis.quality)
    own = voiceprints.voiceprint_of(customer, model.fingerprint) if customer is not None else None
    cohesion = None if own is None else float(compare(own.vector[None], own.speech_seconds).log_likelihood_ratio[0])
    everybody = gallery.of_model(model.fingerprint, model.pipeline.dimensions, model.pipeline.cohort)
    nearest = everybody.search(compare, candidates=None, limit=MAX_DUPLICATES + 1)
    return {
        "separation": one_speaker.separation(scorer.windows(analysis, model)),
        "cohesion_llr": cohesion,
        "duplicates": [
            {"customer_id": each.customer_id, "llr": each.log_likelihood_ratio, "score": each.probability}
            for each in nearest
            if customer is None or each.customer_id != customer.customer_id
        ][:MAX_DUPLICATES],
        "hits": watch.known(model, analysis),
    }
