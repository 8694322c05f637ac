"""What a scoring worker answers about a recording that is to be enrolled. Worker-side only."""

from collections.abc import Sequence
from typing import Any

from celery.signals import worker_shutdown

from enrollment import gallery, replay, voiceprints
from enrollment.messages import ANALYSE_SAMPLE, AnalyseSample, Duplicate, SampleAnalysis, VoiceReport
from enrollment.models import Customer
from mltraining import recordings, scorer
from mltraining.recordings import Voice
from mltraining.worker_server import answers
from voiceauth.screening import watch
from voiceauth.screening.risk import Hit

MAX_DUPLICATES = 3

scorer.register(gallery.keep)


@worker_shutdown.connect
def _remove_the_indexes(**_: Any) -> None:
    gallery.remove()


@answers(ANALYSE_SAMPLE)
def analyse_sample(question: AnalyseSample) -> SampleAnalysis:
    """Measure a recording and compare its voice, under the model in service.

    Raises ``ModelUnavailable`` and ``InvalidAudio``.
    """
    model = scorer.active_model()
    customer = Customer.objects.filter(pk=question.customer).first()
    analysis, replayed = replay.new_speech(customer, recordings.analyse(question.recording), decision=question.decision)
    voice = None if model is None else recordings.voice_of(analysis, model)
    return SampleAnalysis(
        quality=analysis.report(),
        voice=VoiceReport(hits=tuple(replayed)) if voice is None else _report(voice, customer, replayed),
        embedding=None if voice is None else voice.embedding(),
        acoustic_fingerprint=analysis.acoustic_fingerprint(),
        remainder=analysis.remainder(),
    )


def _report(voice: Voice, customer: Customer | None, replayed: Sequence[Hit]) -> VoiceReport:
    own = None if customer is None else voiceprints.enrolled_voice_of(customer, voice.model.fingerprint)
    own_id = None if customer is None else customer.customer_id
    nearest = gallery.of_model(voice.model).nearest(voice, limit=MAX_DUPLICATES + 1)
    return VoiceReport(
        one_voice_llr=None if voice.exact_parts is None else voice.exact_parts.log_likelihood_ratio,
        cohesion_llr=None
        if own is None
        else voice.compare_one("", own.vector, own.speech_seconds).log_likelihood_ratio,
        duplicates=tuple(
            Duplicate(
                customer_id=each.name,
                log_likelihood_ratio=each.log_likelihood_ratio,
                probability=each.probability,
            )
            for each in nearest
            if each.name != own_id
        )[:MAX_DUPLICATES],
        hits=(*watch.known(voice), *replayed),
    )
