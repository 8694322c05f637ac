"""What a scoring worker answers about the recording of a fraudster. Worker-side only."""

from mltraining import recordings, scorer
from mltraining.worker_server import answers
from voiceauth.screening import watch
from voiceauth.screening.messages import ANALYSE_FRAUDSTER, AnalyseFraudster, FraudsterAnalysis


@answers(ANALYSE_FRAUDSTER)
def analyse_fraudster(question: AnalyseFraudster) -> FraudsterAnalysis:
    """Measure a recording and compare it with known fraudsters. Raises ``ModelUnavailable`` and ``InvalidAudio``."""
    model = scorer.active_model()
    analysis = recordings.analyse(question.recording)
    voice = None if model is None else recordings.voice_of(analysis, model)
    return FraudsterAnalysis(
        speech_seconds=float(analysis.quality.speech_seconds),
        hits=() if voice is None else tuple(watch.known(voice)),
        embedding=None if voice is None else voice.embedding(),
        remainder=analysis.remainder(),
    )
