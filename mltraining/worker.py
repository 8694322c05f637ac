"""What scoring workers answer about themselves and about a recording alone. Worker-side only."""

from mltraining import decoding, scorer
from mltraining.messages import DECODE, PING, Decoded, DecodeRecording, Ping, Pong
from mltraining.worker_server import answers


@answers(PING)
def ping(question: Ping) -> Pong:
    """Name the models in memory. It answers before any model is loaded."""
    return Pong(models=tuple(scorer.loaded_versions()))


@answers(DECODE)
def decode_recording(question: DecodeRecording) -> Decoded:
    """Decode a recording, to be played. Raises ``InvalidAudio``."""
    from mltraining.speech.audio import redaction

    return Decoded(redaction.as_wav(decoding.decode(question.recording)))
