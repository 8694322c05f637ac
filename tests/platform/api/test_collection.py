"""The Postman collection is current, and each of its requests is one that the API knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import resolve
from rest_framework.test import APIClient

from tests.support.clients import error_code
from voiceauth.platform.api import collection
from voiceauth.platform.api.management.commands.write_collection import COLLECTION

VALUES = {
    "customer_id": "C-1001",
    "number": "7",
    "version": "1",
    **dict.fromkeys(
        (
            "approval_id",
            "batch_id",
            "decision_id",
            "erasure_id",
            "fraudster_id",
            "recalibration_id",
            "run_id",
            "sample_id",
            "stream_id",
            "watchlist_id",
        ),
        "6c0f2f0e-6f3f-4a0b-9d52-0d3f6f6b1a11",
    ),
}


@pytest.fixture(scope="module")
def items() -> dict[str, Any]:
    content = json.loads(COLLECTION.read_text(encoding="utf-8"))
    return {item["name"]: item["request"] for folder in content["item"] for item in folder["item"]}


def test_the_file_is_what_the_command_writes(tmp_path: Path) -> None:
    call_command("write_collection", tmp_path / "new.json")
    current = COLLECTION.read_text(encoding="utf-8") == (tmp_path / "new.json").read_text(encoding="utf-8")
    assert current, "run manage.py write_collection"


def test_every_request_leads_to_an_endpoint(items: dict[str, Any]) -> None:
    for request in items.values():
        parts = [VALUES[each[1:]] if each.startswith(":") else each for each in request["url"]["path"]]
        assert resolve("/" + "/".join(parts))
    assert len(items) > 50


def test_a_request_has_the_token_of_a_role_that_may_make_it_and_a_key_of_its_own(items: dict[str, Any]) -> None:
    verify = items["verify"]
    assert verify["auth"]["bearer"][0]["value"] == "{{ivr_token}}"
    assert [(row["key"], row["value"]) for row in verify["header"]] == [("Idempotency-Key", "{{$guid}}")]
    fields = {row["key"]: row for row in verify["body"]["formdata"]}
    assert fields["audio"]["type"] == "file" and fields["customer_id"]["value"] == "{{customer_id}}"
    assert {name for name, row in fields.items() if "disabled" not in row} == {"audio", "customer_id"}
    assert items["healthz_retrieve"]["auth"] == {"type": "noauth"}


def test_the_bodies_of_the_first_steps_are_taken_as_they_are(items: dict[str, Any], teller: APIClient) -> None:
    for name, path in (("customers_create", "customers"), ("customers_consent_create", "customers/C-1001/consent")):
        body = items[name]["body"]["raw"]
        for variable, value in collection.VARIABLES.items():
            body = body.replace(f"{{{{{variable}}}}}", value)
        answer = teller.post(f"/api/v1/{path}", json.loads(body), format="json")
        if name == "customers_create":
            assert answer.status_code == 201
        else:  # what nobody can guess is left for you to fill in
            assert error_code(answer) == "validation_error"
            assert set(answer.json()["error"]["data"]["fields"]) == {"text_version", "origin"}
