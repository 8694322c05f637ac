"""No database transaction is open while a worker scores, with and without an ``Idempotency-Key``.

The endpoints come from the OpenAPI document: a new one that takes a recording and a key is included by itself.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from rest_framework.response import Response

from tests.support.clients import api_client, upload
from tests.support.customers import enrolled_customer
from tests.support.every_endpoint import openapi_document
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.api import idempotency
from voiceauth.screening.models import Watchlist

Call = tuple[str, list[str], list[str]]


def _audio_calls() -> list[Call]:
    """Path, fields that are required, and roles, of each POST that takes a recording and an Idempotency-Key."""
    schema, found = openapi_document(), []
    for path, methods in schema["paths"].items():
        operation = methods.get("post", {})
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
        keyed = any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
        if form and keyed:
            fields = schema["components"]["schemas"][form["schema"]["$ref"].rsplit("/", 1)[1]]
            if "audio" in fields["properties"]:
                found.append((path, [*fields.get("required", []), "audio"], operation["x-roles"]))
    return found


def test_the_calls_that_take_a_recording_are_found() -> None:
    ends = {path.rsplit("/", 1)[1] for path, _, _ in _audio_calls()}
    assert ends >= {
        "enrollments",
        "verify",
        "identify",
        "fraudsters",
    }


@pytest.mark.parametrize("key", [None, "k1"])
@pytest.mark.parametrize("call", _audio_calls(), ids=lambda call: call[0])
@pytest.mark.usefixtures("transactional_db")
def test_no_transaction_is_open_while_a_worker_scores(call: Call, key: str | None, worker: StandInWorker) -> None:
    in_transaction: list[bool] = []
    send = _prepared(call, key)
    worker.before_answer = lambda: in_transaction.append(connection.in_atomic_block)
    response = send()
    assert response.status_code in (200, 201), response.content
    assert in_transaction
    assert not any(in_transaction)


@pytest.mark.parametrize("call", _audio_calls(), ids=lambda call: call[0])
@pytest.mark.usefixtures("transactional_db")
def test_a_crash_behind_the_commit_doubles_nothing_and_the_repeat_gets_the_same_answer(
    call: Call, worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bytes] = []

    def crash(reservation: object, response: Response) -> None:
        answers.append(response.render().content)
        raise KeyboardInterrupt

    send = _prepared(call, "k1")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(idempotency, "_settle", crash)
        send()
    scored = len(worker.calls)
    again = send()
    assert (again.content, again["Idempotent-Replayed"]) == (answers[0], "true")
    assert len(worker.calls) == scored


def _prepared(call: Call, key: str | None) -> Callable[[], Any]:
    """Sends a valid request of ``call``, each time the same one."""
    path, fields, roles = call
    activate_model()
    enrolled_customer("ann")
    default, _ = Watchlist.objects.get_or_create(is_default=True, defaults={"name": "known fraudsters"})
    client = api_client(roles[0])
    headers: dict[str, Any] = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}

    voice = "mallory" if "watchlists" in path else "ann"  # a customer's own voice needs a second person there

    def send() -> Response:
        values = {"customer_id": "ann", "audio": upload(recording(voice, take=3, speech_seconds=30.0))}
        content = {name: value for name, value in values.items() if name in fields}
        return client.post(path.format(customer_id="ann", watchlist_id=default.pk), content, **headers)

    return send
