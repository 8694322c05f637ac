import pytest
from rest_framework.test import APIClient

from tests.customers import admin, ivr, reviewer, teller, worker
from tests.factories import api_client

__all__ = ["admin", "ivr", "reviewer", "teller", "worker"]


@pytest.fixture
def auditor(db: None) -> APIClient:
    return api_client("auditor")
