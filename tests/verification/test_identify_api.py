"""Identification over HTTP, with the worker's own code on a stand-in model."""

import json
from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.models import Customer
from tests.support.clients import error_code, upload
from tests.support.customers import consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db


@pytest.fixture
def four(worker: StandInWorker) -> StandInWorker:
    """Four enrolled customers and a fifth who is not."""
    activate_model()
    for customer_id in ("ann", "bob", "cat", "dan"):
        enrolled_customer(customer_id)
    consenting_customer("eve")
    return worker


def identify(client: APIClient, content: bytes, **fields: Any) -> Response:
    return client.post("/api/v1/identify", {"audio": upload(content), **fields})


def test_a_known_voice_is_matched_and_all_candidates_are_ranked(ivr: APIClient, four: StandInWorker) -> None:
    answer = identify(ivr, recording("cat"))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["decision"], said["match"], said["fallback_required"]) == ("MATCH", "cat", False)
    assert {each["customer_id"] for each in said["results"]} == {"ann", "bob", "cat", "dan"}
    probabilities = [each["probability"] for each in said["results"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [each["over_threshold"] for each in said["results"]] == [True, False, False, False]
    assert set(said["results"][0]) == {"customer_id", "probability", "log_likelihood_ratio", "over_threshold"}
    decision = Decision.objects.get()
    assert (decision.kind, decision.customer_id, len(decision.candidates)) == ("identify", "cat", 4)
    assert AuditEvent.objects.get(action="decision.made").customer_id == "cat"


def test_a_strange_voice_is_an_explicit_no_match(ivr: APIClient, four: StandInWorker) -> None:
    said = identify(ivr, recording("zoe")).json()
    assert (said["decision"], said["match"], said["fallback_required"]) == ("NO_MATCH", None, True)
    assert len(said["results"]) == 4 and not any(each["over_threshold"] for each in said["results"])


def test_a_customer_who_is_not_enrolled_is_never_found(ivr: APIClient, four: StandInWorker) -> None:
    said = identify(ivr, recording("eve")).json()
    assert said["decision"] == "NO_MATCH" and "eve" not in {each["customer_id"] for each in said["results"]}


def test_a_locked_customer_is_not_found_by_the_next_call(ivr: APIClient, four: StandInWorker) -> None:
    assert identify(ivr, recording("cat")).json()["match"] == "cat"
    Customer.objects.filter(customer_id="cat").update(state="LOCKED")
    assert identify(ivr, recording("cat")).json()["match"] is None


def test_no_more_than_max_results_are_told(ivr: APIClient, four: StandInWorker) -> None:
    said = identify(ivr, recording("dan"), max_results=1).json()
    assert ([each["customer_id"] for each in said["results"]], said["left_out"]) == (["dan"], [])


@pytest.mark.parametrize(
    "candidates",
    [["ann", "eve", "nobody"], "ann,eve,nobody", "ann, eve , nobody", json.dumps(["ann", "eve", "nobody"])],
)
def test_candidates_narrow_the_search_however_the_list_is_written(
    ivr: APIClient, four: StandInWorker, candidates: Any
) -> None:
    said = identify(ivr, recording("cat"), candidates=candidates).json()
    assert said["decision"] == "NO_MATCH" and [each["customer_id"] for each in said["results"]] == ["ann"]
    assert said["left_out"] == ["eve", "nobody"]


@pytest.mark.parametrize(
    "fields",
    [
        {"max_results": 0},
        {"max_results": 101},
        {"max_results": "many"},
        {"candidates": ""},
        {"candidates": "[]"},
        {"candidates": "[1, null]"},
        {"candidates": '["ann"'},
        {"candidates": '{"a": 1}'},
        {"candidates": "[" * 5000},
        {"candidates": "ann,b d"},
        {"candidates": ",".join(f"C-{number}" for number in range(1001))},
        {"customer_id": "ann"},
    ],
)
def test_a_request_that_is_not_valid_is_refused(ivr: APIClient, four: StandInWorker, fields: dict[str, Any]) -> None:
    answer = identify(ivr, recording("cat"), **fields)
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    ("measured", "decision"), [({"speech_seconds": 0.5}, "NOT_ENOUGH_SPEECH"), ({"snr_db": 0.0}, "INCONCLUSIVE")]
)
def test_poor_audio_names_nobody(ivr: APIClient, four: StandInWorker, measured: dict[str, Any], decision: str) -> None:
    said = identify(ivr, recording("cat", **measured)).json()
    assert (said["decision"], said["match"], said["results"]) == (decision, None, [])


def test_no_recording_is_kept_without_a_claimed_customer(ivr: APIClient, four: StandInWorker) -> None:
    identify(ivr, recording("cat"))
    assert not CallAudio.objects.exists()


def test_an_identification_is_no_access_of_the_customers(ivr: APIClient, four: StandInWorker) -> None:
    before = Customer.objects.get(customer_id="cat").last_accessed_at
    identify(ivr, recording("cat"))
    assert Customer.objects.get(customer_id="cat").last_accessed_at == before


def test_a_reviewer_may_identify_but_neither_teller_nor_admin(
    reviewer: APIClient, teller: APIClient, admin: APIClient, four: StandInWorker
) -> None:
    assert identify(reviewer, recording("cat")).status_code == 200
    assert identify(teller, recording("cat")).status_code == identify(admin, recording("cat")).status_code == 403


def test_an_empty_gallery_is_a_no_match(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    said = identify(ivr, recording("cat")).json()
    assert (said["decision"], said["results"]) == ("NO_MATCH", [])


def test_a_new_model_never_sees_the_old_ones_voiceprints(ivr: APIClient, four: StandInWorker) -> None:
    identify(ivr, recording("cat"))
    activate_model("second")
    assert identify(ivr, recording("cat")).json()["results"] == []
