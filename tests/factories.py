"""What the tests are made of."""

import itertools

from rest_framework.test import APIClient

from voiceauth.api.clients import create_client
from voiceauth.audit import SYSTEM

_numbers = itertools.count(1)


def api_client(role: str, **options: object) -> APIClient:
    """A test client signed in with a fresh token of ``role``; ``.client`` is the ``ApiClient``, ``.token`` its token."""
    api = APIClient()
    api.client, api.token = create_client(name=f"{role}-{next(_numbers)}", role=role, actor=SYSTEM, **options)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {api.token}")
    return api
