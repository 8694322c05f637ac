"""What the tests are made of."""

import itertools
from typing import Any

from rest_framework.test import APIClient

from voiceauth.platform.api.clients import create_client
from voiceauth.platform.audit import SYSTEM

_numbers = itertools.count(1)


def api_client(role: str, **options: Any) -> APIClient:
    """A test client signed in with a fresh token of ``role``; it carries its ``ApiClient`` and ``token``."""
    api = APIClient()
    api.api_client, api.token = create_client(name=f"{role}-{next(_numbers)}", role=role, actor=SYSTEM, **options)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {api.token}")
    return api
