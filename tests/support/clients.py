"""API clients of every role, what they upload and what they are told."""

import itertools
from typing import Any, Protocol

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from voiceauth.platform.api.clients import create_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM

_numbers = itertools.count(1)


class SignedIn(APIClient):
    """A test client that sends the token of one API client."""

    def __init__(self, api_client: ApiClient, token: str) -> None:
        super().__init__()
        self.api_client, self.token = api_client, token
        self.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")


def api_client(role: str, *, name: str = "", **options: Any) -> SignedIn:
    """Sign in with a fresh token of ``role``, by default of a client named after the role and a number."""
    return SignedIn(*create_client(name=name or f"{role}-{next(_numbers)}", role=role, actor=SYSTEM, **options))


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture
def teller(db: None) -> SignedIn:
    return api_client("teller", name="a-teller")


@pytest.fixture
def ivr(db: None) -> SignedIn:
    return api_client("ivr", name="a-ivr")


@pytest.fixture
def reviewer(db: None) -> SignedIn:
    return api_client("reviewer", name="a-reviewer")


@pytest.fixture
def admin(db: None) -> SignedIn:
    return api_client("admin", name="an-admin")


@pytest.fixture
def auditor(db: None) -> SignedIn:
    return api_client("auditor", name="an-auditor")


def upload(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("call.wav", content, content_type="audio/wav")


class Answer(Protocol):
    def json(self) -> Any: ...


def error_code(response: Answer) -> str:
    return str(response.json()["error"]["code"])
