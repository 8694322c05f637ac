"""The real web server, told to stop: callers go elsewhere, and nobody loses an answer."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mltraining import worker_client
from tests.support.audio import voice, wav
from tests.support.clients import api_client
from tests.support.waiting import until
from tests.support.web import running_web

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60.0


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with running_web(tmp_path, VOICEAUTH_DRAIN_SECONDS="1", VOICEAUTH_SCORING_DEADLINE_SECONDS="3") as number:
        yield number


def server() -> psutil.Process:
    children = psutil.Process().children()
    return next(each for each in children if "voiceauth.launcher.web" in each.cmdline())


def is_closing(connection: http.client.HTTPConnection) -> bool:
    """Whether the server answers, and then closes the connection."""
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert answer.read() and answer.status == 200
    return answer.getheader("Connection") == "close"


def test_it_closes_each_connection_behind_its_answer_and_finishes_what_it_holds(port: int) -> None:
    token = {"Authorization": f"Bearer {api_client('ivr').token}"}
    form: dict[str, Any] = {"data": {"customer_id": "nobody"}, "files": {"audio": wav(voice(1, seconds=3), 16_000)}}
    worker_client.connection().delete("scoring")
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with (
        ThreadPoolExecutor(1) as threads,
        connect(f"ws://127.0.0.1:{port}/api/v1/stream", additional_headers=token) as stream,
    ):
        stream.send(json.dumps({"event": "start", "start": {"customParameters": {"customer_id": "nobody"}}}))
        assert json.loads(stream.recv(PATIENCE))["event"] == "started"
        call = threads.submit(
            httpx.post, f"http://127.0.0.1:{port}/api/v1/verify", headers=token, timeout=PATIENCE, **form
        )
        until(lambda: worker_client.connection().llen("scoring"))
        assert not is_closing(kept)
        leaving = server()
        leaving.terminate()
        until(lambda: is_closing(kept))  # http.client connects again behind such an answer
        with pytest.raises(ConnectionClosed):
            while (told := json.loads(stream.recv(PATIENCE)))["event"] == "error":
                assert told["error"]["code"] == "server_stopping"
        assert (stream.close_code, stream.close_reason) == (4503, "server_stopping")
        answer = call.result()  # no worker answers; it would be a lost connection otherwise
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "scoring_unavailable")
    leaving.wait(PATIENCE)
    with pytest.raises(ConnectionRefusedError):
        is_closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))
