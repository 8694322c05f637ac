"""A telephone platform that streams calls to the service by WebSocket."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mltraining.speech.audio.decoding import decode
from tests.support.audio import encode
from voiceauth.demo import voices

PATIENCE = 60.0
ADDRESS = "203.0.113.9"  # of the platform


def telephone(recording: bytes) -> bytes:
    """A recording of ``voices`` in mu-law at 8 kHz."""
    return encode(decode(recording).samples, "mulaw", source_rate=voices.RATE)


class Phone:
    """A telephone platform that streams one call."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.chunks = socket, 0

    def say(self, event: str, **content: Any) -> None:
        with suppress(ConnectionClosed):  # an answer may have ended the stream
            self.socket.send(json.dumps({"event": event, **content}))

    def start(self, encoding: str = "audio/x-mulaw", **parameters: Any) -> "Phone":
        content = {
            "streamSid": "MZ1",
            "mediaFormat": {"encoding": encoding, "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        }
        self.say("start", start=content, streamSid="MZ1")
        return self

    def play(self, samples: bytes, track: str = "inbound", size: int = 160) -> "Phone":
        """As Twilio sends it: base64 in messages of 20 ms."""
        for at in range(0, len(samples), size):
            self.chunks += 1
            payload = base64.b64encode(samples[at : at + size]).decode()
            self.say("media", media={"track": track, "chunk": str(self.chunks), "payload": payload})
        return self

    def hear(self, event: str) -> Any:
        """The next message of this kind; those before it are progress."""
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE))
            if message["event"] == event:
                return message
            assert message["event"] in ("started", "progress", "update"), message

    def closed(self) -> tuple[int, str]:
        """How the server closes the connection."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                self.socket.recv(timeout=PATIENCE)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason

    def refusal(self) -> tuple[str, tuple[int, str]]:
        return self.hear("error")["error"]["code"], self.closed()


Dial = Callable[..., Phone]


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connects, with a token or without one; all lines are closed in the end."""
    with ExitStack() as lines:

        def connected(port: int, token: str = "") -> Phone:
            headers = {"X-Forwarded-For": ADDRESS} | ({"Authorization": f"Bearer {token}"} if token else {})
            address = f"ws://127.0.0.1:{port}/api/v1/stream"
            return Phone(lines.enter_context(connect(address, additional_headers=headers, open_timeout=PATIENCE)))

        yield connected
