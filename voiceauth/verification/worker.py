"""What a scoring worker answers about a call. Worker-side only."""

import time
from uuid import UUID

import numpy as np

from enrollment import gallery, replay, voiceprints
from enrollment.models import Customer
from enrollment.voiceprints import KnownVoice
from mltraining import calibrations, recordings, scorer
from mltraining.messages import Nearest
from mltraining.recordings import Voice
from mltraining.scorer import LoadedModel
from mltraining.worker_server import answers
from voiceauth.platform import stages
from voiceauth.screening import watch
from voiceauth.screening.messages import Screening
from voiceauth.verification.attempts import key_of
from voiceauth.verification.errors import MoreSpeechNeeded, NoActiveModel, TierNotCalibrated
from voiceauth.verification.messages import (
    ANALYSE_FRAUDSTER,
    FOLLOW,
    IDENTIFY,
    VERIFY,
    AnalyseFraudster,
    CallFollowed,
    CallScore,
    FollowCall,
    FraudsterAnalysis,
    IdentifyCall,
    VerifyCall,
)
from voiceauth.verification.voices import Compare, Heard, hear

DECOYS = 4  # of which one is refused, even where the threshold is low
DECOY_SPEECH_SECONDS = 20.0  # that a decoy pretends to be the mean of


@answers(VERIFY)
def verify_call(question: VerifyCall) -> CallScore:
    """Compare a call with one voiceprint, or with a decoy, and look for a replay.

    Raises ``NoActiveModel``, ``ModelUnavailable``, ``TierNotCalibrated``, ``InvalidAudio`` and ``MoreSpeechNeeded``.
    """
    started = time.perf_counter()
    with stages.timed("model"):
        model = _active_model()
        calibration = model.calibration
    if question.promised and (missing := calibrations.shortfalls(calibration, question.target_far)):
        raise TierNotCalibrated(target_far=question.target_far, missing=[each.as_dict() for each in missing])
    threshold = calibrations.threshold(calibration, question.target_far)
    # The customer is read afresh, so that nothing is compared with a stale copy.
    with stages.timed("voiceprint"):
        customer, known = _known(question.customer, model)
    analysis = recordings.analyse(question.recording)
    with stages.timed("replay"):
        analysis, replayed = replay.new_speech(customer, analysis)
    speech_seconds = float(analysis.quality.speech_seconds)
    if not replayed and speech_seconds < question.at_least_seconds:
        raise MoreSpeechNeeded(speech_seconds=speech_seconds)
    whole = recordings.voice_of(analysis, model)
    with stages.timed("voiceprint"):
        compare, enrolled_seconds = _claimed(question, customer, known, threshold)
        heard = hear(whole, compare, threshold, question.rules) if compare else Heard(whole, [])
    if replayed and not _may_be_the_customers(heard):
        replayed = []  # such as the announcement of a line, which the calls of many customers share
    voice = heard.voice
    with stages.timed("screening"):
        screened = watch.screen(voice, customer_id=question.claimed)
    with stages.timed("replay"):
        acoustic_fingerprint = voice.analysis.acoustic_fingerprint()
    return CallScore(
        quality=voice.analysis.report(),
        model_version=voice.model.version,
        model_fingerprint=voice.model.fingerprint,
        calibration_version=voice.model.pipeline.calibration.version,
        threshold=threshold,
        matches=tuple(heard.matches),
        part_llr=heard.part_llr,
        changes_at=heard.changes_at,
        enrollment_speech_seconds=enrolled_seconds,
        screening=Screening(
            hits=(*screened.hits, *replayed), voice=screened.voice, speech_seconds=screened.speech_seconds
        ),
        acoustic_fingerprint=acoustic_fingerprint,
        remainder=voice.analysis.remainder(),
        milliseconds=(time.perf_counter() - started) * 1000,
    )


def _may_be_the_customers(heard: Heard) -> bool:
    """Whether the claimed customer's voice may be in the call: only then is it a replay of the customer."""
    ratios = [heard.part_llr, *(each.log_likelihood_ratio for each in heard.matches)]
    return max((each for each in ratios if each is not None), default=0.0) >= 0


def _known(customer_pk: UUID | None, model: LoadedModel) -> tuple[Customer | None, KnownVoice | None]:
    return (None, None) if customer_pk is None else voiceprints.claimed(customer_pk, model.fingerprint)


def _claimed(
    question: VerifyCall | FollowCall, customer: Customer | None, known: KnownVoice | None, threshold: float
) -> tuple[Compare | None, float | None]:
    """Return what a call is compared with, and the seconds of net speech behind that.

    It is the claimed customer's voiceprint, or a decoy where the answer must not reveal that there is none; ``None``
    where the customer has no voiceprint under this model.
    """
    if question.customer is None:
        return lambda voice, _: [_decoy(voice, key_of(question.claimed), threshold)], DECOY_SPEECH_SECONDS
    if customer is None or known is None:
        return None, None
    name, vector, seconds = customer.customer_id, known.vector, known.speech_seconds
    return lambda voice, _: [voice.compare_one(name, vector, seconds)], seconds


@answers(FOLLOW)
def follow_call(question: FollowCall) -> CallFollowed:
    """Compare the latest part of a call, and say whether more than one voice speaks in it.

    Raises ``NoActiveModel``, ``ModelUnavailable`` and ``InvalidAudio``.
    """
    model = _active_model()
    threshold = calibrations.threshold(model.calibration, question.target_far)
    customer, known = _known(question.customer, model)
    whole = recordings.voice_of(recordings.analyse(question.recording), model)
    compare, _ = _claimed(question, customer, known, threshold)
    heard = hear(whole, compare, threshold, question.rules) if compare else Heard(whole, [])
    best = heard.matches[0] if heard.matches else None
    return CallFollowed(
        speech_seconds=float(whole.analysis.quality.speech_seconds),
        log_likelihood_ratio=best.log_likelihood_ratio if best else None,
        probability=best.probability if best else None,
        speaker_changed=heard.part_llr is not None or heard.voice is not whole,
    )


@answers(IDENTIFY)
def identify_call(question: IdentifyCall) -> CallScore:
    """Search the gallery for the voice of a call. Raises as ``verify_call`` does."""
    started = time.perf_counter()
    model = _active_model()
    whole = recordings.voice_of(recordings.analyse(question.recording), model)
    known = gallery.of_model(model)
    threshold = calibrations.threshold(model.calibration, question.target_far)

    def compare(voice: Voice, name: str | None) -> list[Nearest]:
        names = question.candidates if name is None else [name]
        return known.nearest(voice, names=names, limit=question.max_results)

    heard = hear(whole, compare, threshold, question.rules)
    voice = heard.voice
    return CallScore(
        quality=voice.analysis.report(),
        model_version=voice.model.version,
        model_fingerprint=voice.model.fingerprint,
        calibration_version=voice.model.pipeline.calibration.version,
        threshold=threshold,
        matches=tuple(heard.matches),
        part_llr=heard.part_llr,
        changes_at=heard.changes_at,
        screening=watch.screen(voice, customer_id=None),
        remainder=None,  # the audio of an identification is not kept
        milliseconds=(time.perf_counter() - started) * 1000,
    )


@answers(ANALYSE_FRAUDSTER)
def analyse_fraudster(question: AnalyseFraudster) -> FraudsterAnalysis:
    """Measure a recording, and compare it with known fraudsters and with the customers.

    Raises ``ModelUnavailable`` and ``InvalidAudio``.
    """
    model = scorer.active_model()
    analysis = recordings.analyse(question.recording)
    voice = None if model is None else recordings.voice_of(analysis, model)
    return FraudsterAnalysis(
        speech_seconds=float(analysis.quality.speech_seconds),
        hits=() if voice is None else tuple(watch.known(voice)),
        customer=None if voice is None else _likeliest_customer(voice),
        embedding=None if voice is None else voice.embedding(),
        remainder=analysis.remainder(),
    )


def _likeliest_customer(voice: Voice) -> Nearest | None:
    """Find the customer who sounds most like the voice. Locked customers, whom the gallery leaves out, count too."""
    found = gallery.of_model(voice.model).nearest(voice, limit=1)
    for customer in Customer.objects.filter(state=Customer.State.LOCKED):
        if known := voiceprints.voiceprint_of(customer, voice.model.fingerprint):
            found.append(voice.compare_one(customer.customer_id, known.vector, known.speech_seconds))
    return max(found, key=lambda each: each.log_likelihood_ratio, default=None)


def _active_model() -> LoadedModel:
    model = scorer.active_model()
    if model is None:
        raise NoActiveModel
    return model


def _decoy(voice: Voice, seed: str, threshold: float) -> Nearest:
    """Compare with voices that are no customer's, and return a refusal like any other.

    Of some voices that the model keeps, always the same for one ``seed``, it takes the first one that is refused. By
    one score, a patient caller tells it from another customer in 52 to 56 of 100 pairs, where chance is 50 (calls
    through G.711 and real ones, under the base model). The closest of four is told in 69 to 72. A model that keeps no
    voices has random directions, whose scores vary less than those of voices.
    """
    random, pipeline = np.random.default_rng(list(seed.encode())), voice.model.pipeline
    if (voices := pipeline.decoys) is not None:
        decoys = voices[random.choice(len(voices), min(DECOYS, len(voices)), replace=False)]
    else:
        decoys = random.normal(size=(DECOYS, pipeline.dimensions)).astype(np.float32)
        decoys /= np.linalg.norm(decoys, axis=1, keepdims=True)
    found = [voice.compare_one("", decoy, DECOY_SPEECH_SECONDS) for decoy in decoys]
    refused = (each for each in found if each.probability < threshold)
    return next(refused, min(found, key=lambda each: each.log_likelihood_ratio))
