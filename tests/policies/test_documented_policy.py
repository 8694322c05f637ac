"""The policy document of docs/operations.md can be posted as it stands."""

import json
import re
from pathlib import Path

import pytest

from tests.support.clients import api_client
from voiceauth.policies import selectors

pytestmark = pytest.mark.django_db
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_the_policy_in_the_guide_is_put_into_force() -> None:
    section = GUIDE.read_text(encoding="utf-8").split("\n## Policy\n")[1].split("\n## ")[0]
    example = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert example is not None
    document = json.loads(example.group(1))
    answer = api_client("admin").post("/api/v1/policies", document, format="json")
    assert answer.status_code == 201, answer.content
    policy = selectors.in_force()
    assert policy.number == 1
    assert policy.enrollment("phone").needs_approval
    assert set(document["content"]) == {"enrollment", "verification", "enrichment", "tiers", "channels", "sign_in"}
