"""What no computer can hold is no number, and what is nested without need is no request: 400, wherever it stands."""

import json
from typing import Any

import pytest
from rest_framework import serializers
from rest_framework.test import APIClient

from enrollment.batches.manifest import _parsed
from voiceauth.platform.api.parsers import MOST_LEVELS, loads
from voiceauth.platform.api.serializers import GivenNumber
from voiceauth.platform.api.uploads import IntervalList
from voiceauth.verification.serializers import CandidateList

TOO_MUCH = {
    "a double that overflows": "1.8e308",
    "a negative one": "-1.8e308",
    "a huge exponent": "1e999999",
    "10^400": "1" + "0" * 400,
    "a million digits": "9" * 1_000_000,
    "one more than 64 bits": str(2**63),
    "one less than 64 bits": str(-(2**63) - 1),
    "an endless list": "[" * 100_000,
    "endless objects": '{"a":' * 100_000,
    "a list within lists": "[" * 200 + "]" * 200,
    "objects within objects": '{"a":' * 200 + "1" + "}" * 200,
    "one level too many": "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1),
    "NaN": "NaN",
    "Infinity": "-Infinity",
}


@pytest.mark.parametrize("text", TOO_MUCH.values(), ids=TOO_MUCH)
def test_json_that_cannot_be_stored_is_refused_as_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize(
    "content",
    [2**63 - 1, -(2**63), 1.7976931348623157e308, 5e-324, -0.0, 1e-400, {"a": [1, {"b": None}], "c": "1e999"}],
)
def test_json_that_can_be_stored_is_read(content: Any) -> None:
    assert loads(json.dumps(content)) == content


def test_nesting_is_read_down_to_the_limit() -> None:
    assert loads("[" * MOST_LEVELS + "]" * MOST_LEVELS)


@pytest.mark.parametrize("text", TOO_MUCH.values(), ids=TOO_MUCH)
@pytest.mark.parametrize("body", ["{}", '{{"content": {}, "reason": "a", "based_on": 0}}', '{{"based_on": {}}}'])
def test_every_endpoint_answers_such_a_body_with_400(admin: APIClient, body: str, text: str) -> None:
    response = admin.post(
        "/api/v1/policies", body.format(text), content_type="application/json", HTTP_IDEMPOTENCY_KEY="a"
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity", "1e999", "1" + "0" * 400, 10**400, float("nan")])
def test_a_number_of_the_policy_is_finite_also_where_it_is_given_as_text(word: Any) -> None:
    with pytest.raises(serializers.ValidationError):
        GivenNumber(min_value=-20, max_value=60).run_validation(word)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1.8e308", "1e999999"])
def test_an_interval_to_redact_ends_at_a_number(number: str) -> None:
    with pytest.raises(serializers.ValidationError):
        IntervalList().run_validation(f"[[1, {number}]]")
    with pytest.raises(serializers.ValidationError):
        IntervalList().run_validation(f"[[{number}, 2]]")


@pytest.mark.parametrize("text", [TOO_MUCH["an endless list"], TOO_MUCH["a list within lists"]])
def test_lists_within_form_fields_and_manifests_are_limited_too(text: str) -> None:
    for field in (IntervalList(), CandidateList()):
        with pytest.raises(serializers.ValidationError):
            field.run_validation([text] if isinstance(field, CandidateList) else text)
    assert _parsed(1, text.encode()).problem == "The line is not JSON."
