import pytest
from rest_framework.test import APIClient

from tests.support.clients import api_client


@pytest.fixture
def auditor(db: None) -> APIClient:
    return api_client("auditor")
