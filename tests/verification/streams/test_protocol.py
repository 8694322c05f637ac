"""What is read of a platform's messages."""

import base64
import json
from typing import Any

import pytest

from voiceauth.verification.streams import protocol
from voiceauth.verification.streams.errors import MalformedStream, UnsupportedMedia

START = {  # as Twilio documents it
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC00000000000000000000000000000000",
        "streamSid": "MZ00000000000000000000000000000000",
        "callSid": "CA00000000000000000000000000000000",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"ticket": "abc"},
    },
    "streamSid": "MZ00000000000000000000000000000000",
}


def read(message: Any) -> protocol.Message:
    return protocol.read(json.dumps(message))


def test_twilios_messages_are_read() -> None:
    start = read(START)
    assert isinstance(start, protocol.Start)
    assert (start.encoding(), start.start.customParameters) == ("mulaw", {"ticket": "abc"})
    assert start.start.streamSid.startswith("MZ")
    payload = base64.b64encode(b"\xff\x7f").decode()
    content = {"track": "inbound", "chunk": "2", "timestamp": "25", "payload": payload}
    media = read({"event": "media", "sequenceNumber": "3", "media": content, "streamSid": "MZ"})
    assert isinstance(media, protocol.Media)
    assert (media.media.payload, media.media.chunk, media.media.track) == (b"\xff\x7f", 2, "inbound")
    assert isinstance(read({"event": "connected", "protocol": "Call", "version": "1.0.0"}), protocol.Connected)
    assert isinstance(read({"event": "mark", "mark": {"name": "a"}}), protocol.Mark)
    assert isinstance(read({"event": "dtmf", "dtmf": {"digit": "1"}}), protocol.Dtmf)
    assert isinstance(read({"event": "stop", "stop": {"callSid": "CA"}}), protocol.Stop)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"event": "unheard-of"}',
        '{"event": "start"}',
        '{"event": "media", "media": {"payload": "not base64!"}}',
        '{"event": "media", "media": {"chunk": "one", "payload": ""}}',
        '{"event": "stop", "padding": "' + "x" * 70_000 + '"}',
        "[" * 50_000,
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(MalformedStream):
        protocol.read(text)


@pytest.mark.parametrize(
    "format",
    [
        {"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1},
        {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1},
        {"encoding": "audio/x-slin", "sampleRate": 8000, "channels": 2},
    ],
)
def test_another_encoding_is_refused_with_those_that_are_read(format: dict[str, Any]) -> None:
    start = read({"event": "start", "start": {"mediaFormat": format}})
    assert isinstance(start, protocol.Start)
    with pytest.raises(UnsupportedMedia) as caught:
        start.encoding()
    assert caught.value.data == {"encodings": ["audio/x-mulaw", "audio/x-slin"]}
