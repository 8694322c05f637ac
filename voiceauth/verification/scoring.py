"""Scoring a call against voiceprints: worker-side only."""

import base64
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from enrollment import gallery, replay, voiceprints
from enrollment.gallery import Match
from enrollment.models import Customer
from mltraining import scorer
from mltraining.scorer import Analysis, LoadedModel
from voiceauth.screening import watch
from voiceauth.verification.errors import NoActiveModel

if TYPE_CHECKING:
    from mltraining.speech.scoring.pipeline import Comparison

DECOYS = 4  # the closest of so many cohort voices is as far away as a customer is: see docs/accuracy.md
DECOY_SPEECH_SECONDS = 20.0  # behind the voiceprint that there is not


def score_call(
    *,
    audio: str,
    customer: str | None = None,
    decoy: str | None = None,
    candidates: list[str] | None = None,
    max_results: int = 1,
    redact: list[list[float]] | None = None,
    target_far: float | None = None,
    claimed: str | None = None,
) -> dict[str, Any]:
    """One recording (base64) against one voiceprint (verify) or many (identify), under the model in service.

    ``customer`` is the claimed customer's UUID; ``decoy`` instead, any text, compares with a voice that is nobody's and
    never accepts; without both the gallery is searched, or ``candidates`` in it. The threshold is the model's, or that
    for ``target_far``: null where the calibration supports no such rate. The voice is screened as one that claims to be
    ``claimed``, the bank's identifier.

    Answers ``{quality, model: {version, fingerprint}, scores: [{customer_id, score, log_likelihood_ratio,
    probability}], enrollment_speech_seconds, threshold, calibration_version, milliseconds, recording, screening,
    fingerprint}``,
    scores the best first; without a voiceprint under this model there is no score. ``enrollment_speech_seconds`` is
    the claimed voiceprint's, null without one; ``recording`` what is left of a redacted one, base64; ``screening`` what
    ``watch.screen`` found, and a replay; ``fingerprint`` what tells a claimed customer's recording again, base64.
    Raises ``NoActiveModel``, ``ModelUnavailable`` and ``InvalidAudio``.
    """
    started = time.perf_counter()
    model = scorer.active_model()
    if model is None:
        raise NoActiveModel
    pipeline = model.pipeline
    analysis = scorer.analyse(base64.b64decode(audio), model, [(start, end) for start, end in redact or ()])
    assert analysis.embedding is not None  # a model was given
    compare = partial(pipeline.compare, analysis.embedding, analysis.quality)
    threshold = pipeline.threshold if target_far is None else pipeline.calibration.threshold_at(target_far)
    matches: list[Match] = []
    replayed: list[dict[str, Any]] = []
    enrollment_speech_seconds = None
    if customer is None and decoy is None:
        known = gallery.of_model(model.fingerprint, pipeline.dimensions, pipeline.cohort)
        matches = known.search(compare, candidates=candidates, limit=max_results)
    else:
        # Read afresh: one row, and no copy of it that could be stale. A decoy asks for one that is not there.
        known_as = Customer.objects.filter(pk=UUID(customer) if customer else UUID(int=0)).first()
        voice = voiceprints.voiceprint_of(known_as, model.fingerprint) if known_as else None
        if decoy is not None:
            matches = [_against_nobody(model, analysis, decoy, threshold)]
            enrollment_speech_seconds = DECOY_SPEECH_SECONDS
        elif known_as is not None and voice is not None:
            matches = [_match(known_as.customer_id, compare(voice.vector[None], voice.speech_seconds))]
            enrollment_speech_seconds = voice.speech_seconds
        replayed = replay.hits(known_as, analysis)
    screened = watch.screen(model, analysis, customer_id=claimed)
    return {
        "quality": analysis.report(),
        "model": {"version": model.version, "fingerprint": model.fingerprint},
        "scores": [asdict(match) for match in matches],
        "enrollment_speech_seconds": enrollment_speech_seconds,
        "threshold": None if threshold is None else float(threshold),
        "calibration_version": pipeline.calibration.version,
        "milliseconds": (time.perf_counter() - started) * 1000,
        "recording": base64.b64encode(analysis.redacted_recording()).decode() if redact else None,
        "screening": {**screened, "hits": [*screened["hits"], *replayed]},
        "fingerprint": base64.b64encode(analysis.fingerprint()).decode() if claimed is not None else None,
    }


def _against_nobody(model: LoadedModel, analysis: Analysis, seed: str, threshold: float | None) -> Match:
    """A refusal like any other: of some voices that are no customer's, always the same for one ``seed``, the closest
    that is under the threshold. A single one would be told: the cohort is further from callers than they are from each
    other.
    """
    assert analysis.embedding is not None  # a model was given
    random, pipeline = np.random.default_rng(list(seed.encode())), model.pipeline
    if pipeline.cohort is not None:
        means = pipeline.cohort.means
        voices = means[random.choice(len(means), min(DECOYS, len(means)), replace=False)]
    else:
        voices = random.normal(size=(DECOYS, pipeline.dimensions)).astype(np.float32)
        voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    found = [
        _match("", pipeline.compare(analysis.embedding, analysis.quality, voice[None], DECOY_SPEECH_SECONDS))
        for voice in voices
    ]
    refused = [each for each in found if threshold is None or each.probability < threshold]
    if refused:
        return max(refused, key=lambda each: each.log_likelihood_ratio)
    return min(found, key=lambda each: each.log_likelihood_ratio)


def _match(customer_id: str, found: "Comparison") -> Match:
    return Match(customer_id, float(found.score[0]), float(found.log_likelihood_ratio[0]), float(found.probability[0]))
