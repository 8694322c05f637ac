"""Uploads stay in memory, within limits."""

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from tests.support.clients import error_code
from voiceauth.platform.api.uploads import CappedMemoryUploadHandler

pytestmark = pytest.mark.urls("tests.support.edge")

LIMIT = 10 * 1024 * 1024


def send(client: Any, content: bytes, **fields: object) -> Response:
    return client.post("/api/v1/uploads", {"audio": SimpleUploadedFile("a.wav", content), **fields})


def test_an_upload_arrives_as_bytes(teller: APIClient) -> None:
    assert send(teller, b"voice").json() == {"bytes": 5}


def test_the_largest_upload_passes_and_one_byte_more_is_refused(teller: APIClient) -> None:
    assert send(teller, bytes(LIMIT)).json() == {"bytes": LIMIT}
    response = send(teller, bytes(LIMIT + 1))
    assert (response.status_code, error_code(response)) == (413, "upload_too_large")


def test_files_of_one_request_share_the_limit(teller: APIClient) -> None:
    half = SimpleUploadedFile("b.wav", bytes(LIMIT // 2))
    response = send(teller, bytes(LIMIT // 2 + 1), more=half)
    assert (response.status_code, error_code(response)) == (413, "upload_too_large")


def test_an_announced_length_beyond_all_limits_is_refused_before_it_is_read(teller: APIClient) -> None:
    body = io.BytesIO(b"{}")
    response = teller.generic(
        "POST", "/api/v1/notes", "{}", "application/json", CONTENT_LENGTH=str(10**12), **{"wsgi.input": body}
    )
    assert (response.status_code, error_code(response)) == (413, "upload_too_large")


def test_a_json_body_has_a_smaller_limit(teller: APIClient) -> None:
    response = teller.generic("POST", "/api/v1/notes", b'{"text": "' + b"a" * 1024 * 1024 + b'"}', "application/json")
    assert (response.status_code, error_code(response)) == (413, "upload_too_large")


def test_a_long_text_field_in_a_form_is_refused(teller: APIClient) -> None:
    response = send(teller, b"voice", text="a" * (1024 * 1024 + 1))
    assert (response.status_code, error_code(response)) == (413, "upload_too_large")


def test_an_empty_upload_passes_to_the_decoder_which_has_the_better_answer(teller: APIClient) -> None:
    assert send(teller, b"").json() == {"bytes": 0}


def test_text_in_the_place_of_a_file_is_refused(teller: APIClient) -> None:
    response = teller.post("/api/v1/uploads", {"audio": "voice"})
    assert (response.status_code, error_code(response)) == (400, "validation_error")


def test_a_missing_file_is_refused_by_name(teller: APIClient) -> None:
    response = teller.post("/api/v1/uploads", {})
    assert set(response.json()["error"]["data"]["fields"]) == {"audio"}


def test_no_file_is_opened_on_disk_for_an_upload(teller: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert send(teller, bytes(5 * 1024 * 1024)).json() == {"bytes": 5 * 1024 * 1024}


def test_the_handler_is_the_one_that_the_settings_name(settings: Settings) -> None:
    path = f"{CappedMemoryUploadHandler.__module__}.{CappedMemoryUploadHandler.__name__}"
    assert [path] == settings.FILE_UPLOAD_HANDLERS
