"""The messages of a streamed call: Twilio's Media Streams, and binary messages of samples.

Samples come base64 in ``media`` messages, or as they are in binary messages. Both may be used with each encoding.
"""

import msgspec

from voiceauth.verification.streams.errors import MalformedStream, UnsupportedMedia

RATE = 8000  # Hz
ENCODINGS = {"audio/x-mulaw": "mulaw", "audio/x-slin": "s16le"}  # and what the decoder calls them
CALLER = "inbound"  # the track that holds the caller; others are left out
MOST_BYTES = 64 * 1024  # of one message: 8 s of mu-law, where platforms send 20 ms


class MediaFormat(msgspec.Struct):
    """How the samples are encoded."""

    encoding: str
    sampleRate: int = RATE  # noqa: N815  Twilio's name
    channels: int = 1


class StartContent(msgspec.Struct):
    """What a start message says. ``customParameters`` name the claim, or hold a ticket."""

    mediaFormat: MediaFormat = msgspec.field(default_factory=lambda: MediaFormat("audio/x-mulaw"))  # noqa: N815
    customParameters: dict[str, str | int | float] = msgspec.field(default_factory=dict)  # noqa: N815
    streamSid: str = ""  # noqa: N815  the platform's own name of the stream, which our messages repeat


class Start(msgspec.Struct, tag_field="event", tag="start"):
    """The first message that counts."""

    start: StartContent

    def encoding(self) -> str:
        """Return the encoding as the decoder calls it. Raises ``UnsupportedMedia``."""
        given = self.start.mediaFormat
        if given.encoding not in ENCODINGS or (given.sampleRate, given.channels) != (RATE, 1):
            raise UnsupportedMedia(encodings=sorted(ENCODINGS))
        return ENCODINGS[given.encoding]


class MediaContent(msgspec.Struct):
    """Samples, in base64; ``chunk`` counts those of the track."""

    payload: bytes
    track: str = CALLER
    chunk: int = 0


class Media(msgspec.Struct, tag_field="event", tag="media"):
    """Samples of one track."""

    media: MediaContent


class Connected(msgspec.Struct, tag_field="event", tag="connected"):
    """Twilio's greeting."""


class Mark(msgspec.Struct, tag_field="event", tag="mark"):
    """Twilio's echo of a mark."""


class Dtmf(msgspec.Struct, tag_field="event", tag="dtmf"):
    """A key that the caller pressed."""


class Stop(msgspec.Struct, tag_field="event", tag="stop"):
    """The call is over."""


Message = Connected | Start | Media | Mark | Dtmf | Stop
_decoder = msgspec.json.Decoder(Message, strict=False)  # Twilio sends numbers as strings


def read(text: str) -> Message:
    """Read one text message. Raises ``MalformedStream``."""
    try:
        if len(text) <= MOST_BYTES:
            return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError):
        pass
    raise MalformedStream
