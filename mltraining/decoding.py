"""Decode uploads for a worker, in a process of its own that a hostile file may crash. Worker-side only."""

import functools
import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from django.conf import settings

from mltraining import deadlines
from mltraining.deadlines import CallAbandoned
from mltraining.errors import INVALID_AUDIO, ChannelRequired, InvalidAudio, NotAudio
from mltraining.messages import Recording

if TYPE_CHECKING:
    from mltraining.speech.audio.isolation import Decoder
    from mltraining.speech.audio.waveform import Waveform

logger = logging.getLogger(__name__)

MOST_CPU_SECONDS = 5.0  # for one recording; half of the caller's deadline where that is less
MEASURED_SECONDS = 240.0  # of all channels together, where the caller has to choose one


def start() -> None:
    """Start the process that decodes, so that the first recording need not wait for it."""
    _decoder().start()


def decode(recording: Recording) -> "Waveform":
    """Decode the channel of a recording that counts, in the time that the caller waits.

    Raises the ``InvalidAudio`` subclass that names what is wrong with it, and ``CallAbandoned``. A recording that
    crashes the decoder is an alarm in the log.
    """
    from mltraining.speech.audio import channels, quality
    from mltraining.speech.audio.errors import AudioError
    from mltraining.speech.audio.isolation import DecoderCrashed, DecodingTimedOut

    try:
        return _decoder().decode(
            recording.audio,
            format=recording.format or None,
            max_seconds=settings.VOICEAUTH_MAX_AUDIO_SECONDS,
            channel=recording.channel or None,
            default_channel=recording.default_channel or None,
            **_budget(),
        )
    except channels.ChannelRequired as error:
        seconds = MEASURED_SECONDS / len(error.channels)
        heard = [replace(each, samples=each.samples[: int(seconds * each.sample_rate)]) for each in error.channels]
        raise ChannelRequired(channels=[asdict(each) for each in quality.measure_channels(heard)]) from error
    except DecodingTimedOut as error:
        raise CallAbandoned from error
    except AudioError as error:
        if isinstance(error, DecoderCrashed):
            logger.error("ALARM undecodable_audio: the decoder crashed on a recording (%s)", error.cause)
        if error.code == NotAudio.code:
            raise _not_audio(error) from error
        raise INVALID_AUDIO.get(error.code, InvalidAudio)(str(error)) from error


def _not_audio(error: Exception) -> NotAudio:
    """Say which formats are read, in words and for programs."""
    from mltraining.speech.audio.containers import NAMES
    from mltraining.speech.audio.decoding import HEADERLESS

    known = f"Send {', '.join(NAMES)}; or samples without a header, with `format`: {', '.join(HEADERLESS)}."
    return NotAudio(f"{error} {known}", formats=list(NAMES), headerless=list(HEADERLESS))


@functools.cache
def _decoder() -> "Decoder":
    from mltraining.speech.audio.isolation import Decoder

    return Decoder()


def _budget() -> dict[str, float]:
    """All the time that the caller waits by the clock, but half of it at work: scoring needs the other half."""
    seconds = deadlines.left()
    return {} if seconds is None else {"seconds": seconds, "cpu_seconds": min(MOST_CPU_SECONDS, seconds / 2)}
