"""Review cases: opened once, worked on by people, closed, reopened, and what the next calibration learns from them."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import close_old_connections
from django.utils import timezone
from rest_framework.test import APIClient

from tests.support.clients import api_client, error_code
from tests.support.customers import IVR, TELLER, enrolled_customer
from tests.support.fraudsters import RITA
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from tests.support.trail import after, before
from tests.support.waiting import at_once
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import DomainError
from voiceauth.retraining import labelled
from voiceauth.screening import cases, selectors
from voiceauth.screening.models import ReviewCase
from voiceauth.verification import services as verification

pytestmark = pytest.mark.django_db


def case(**fields: Any) -> ReviewCase:
    given = {"kind": "KNOWN_FRAUDSTER", "customer_id": "C-1", "subject": "f1", "evidence": {"score": 0.97}}
    return cases.open_case(**(given | {"actor": IVR} | fields))


def test_a_further_hit_is_evidence_in_the_open_case_and_a_new_case_once_that_is_closed() -> None:
    first = case()
    assert case(evidence={"score": 0.99}).number == first.number
    assert case(subject="f2").number != first.number
    assert case(customer_id="C-2").number != first.number
    assert case(kind="WATCHLIST_ENROLLMENT").number != first.number
    first.refresh_from_db()
    assert (first.hits, [each["score"] for each in first.evidence]) == (2, [0.97, 0.99])
    cases.close(number=first.number, resolution="FALSE_ALARM", comment="his brother", actor=RITA)
    assert case().number != first.number
    actions = AuditEvent.objects.filter(target=f"case:{first.number}").order_by("sequence")
    assert [event.action for event in actions] == ["case.opened", "case.evidence_added", "case.closed"]


def test_a_case_keeps_the_first_evidence_and_the_latest_and_does_not_grow_without_end() -> None:
    for number in range(60):
        found = case(evidence={"number": number})
    numbers = [each["number"] for each in found.evidence]
    assert (found.hits, numbers) == (60, [0, *range(11, 60)])


def test_a_case_is_assigned_commented_and_closed_and_the_trail_tells_by_whom(reviewer: APIClient) -> None:
    path = f"/api/v1/cases/{case().number}"
    me = reviewer.get(path).json()
    assert (me["state"], me["assigned_to"], me["evidence"][0]["score"]) == ("OPEN", "", 0.97)
    assert reviewer.post(f"{path}/assign", {}, format="json").json()["assigned_to"] == "a-reviewer"
    assert reviewer.post(f"{path}/comment", {"text": "called back"}, format="json").status_code == 201
    closed = reviewer.post(f"{path}/close", {"resolution": "CONFIRMED_FRAUD", "comment": "same as May"}, format="json")
    body = closed.json()
    assert (body["state"], body["resolution"], body["closed_by"]) == ("CLOSED", "CONFIRMED_FRAUD", "a-reviewer")
    assert [each["text"] for each in body["comments"]] == ["called back", "same as May"]
    events = AuditEvent.objects.filter(actor="a-reviewer").order_by("sequence").values_list("action", flat=True)
    assert list(events) == ["case.assigned", "case.commented", "case.closed"]


def test_a_closed_case_takes_no_further_step_until_it_is_reopened(reviewer: APIClient) -> None:
    number = case().number
    cases.close(number=number, resolution="CONFIRMED_FRAUD", comment="he said so", actor=RITA)
    ending = {"resolution": "FALSE_ALARM", "comment": "his brother"}
    for step, body in (("assign", {}), ("comment", {"text": "x"}), ("close", ending)):
        answer = reviewer.post(f"/api/v1/cases/{number}/{step}", body, format="json")
        assert (answer.status_code, error_code(answer)) == (409, "case_closed")
    assert selectors.case(number).resolution == "CONFIRMED_FRAUD"
    assert error_code(reviewer.post("/api/v1/cases/999999/close", ending, format="json")) == "case_not_found"
    assert error_code(reviewer.get(f"/api/v1/cases/{10**30}")) == "case_not_found"


@pytest.mark.parametrize("body", [{}, {"comment": ""}, {"comment": "  "}, {"text": "an older name"}])
def test_a_case_is_not_closed_without_a_comment(reviewer: APIClient, body: dict[str, str]) -> None:
    found = case()
    answer = reviewer.post(
        f"/api/v1/cases/{found.number}/close", {"resolution": "CONFIRMED_FRAUD", **body}, format="json"
    )
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    found.refresh_from_db()
    assert (found.state, found.resolution) == ("OPEN", "")


def test_a_closed_case_is_reopened_with_a_reason_and_closed_with_another_resolution(reviewer: APIClient) -> None:
    found = case()
    path = f"/api/v1/cases/{found.number}"
    cases.assign(number=found.number, to="rita", actor=RITA)
    cases.close(number=found.number, resolution="CONFIRMED_FRAUD", comment="he said so", actor=RITA)
    answer = reviewer.post(f"{path}/reopen", {"reason": "the customer's brother called"}, format="json")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["state"], body["resolution"], body["assigned_to"]) == ("OPEN", "", "")
    assert (body["closed_at"], body["closed_by"]) == (None, "")
    assert [each["text"] for each in body["comments"]] == ["he said so", "the customer's brother called"]
    event = AuditEvent.objects.get(action="case.reopened")
    assert (event.actor, event.data["reason"]) == ("a-reviewer", "the customer's brother called")
    assert (before(event)["resolution"], after(event)["resolution"]) == ("CONFIRMED_FRAUD", "")
    closing = {"resolution": "FALSE_ALARM", "comment": "it was his brother"}
    assert reviewer.post(f"{path}/close", closing, format="json").json()["resolution"] == "FALSE_ALARM"


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": " "}])
def test_a_case_is_not_reopened_without_a_reason(reviewer: APIClient, body: dict[str, str]) -> None:
    found = case()
    cases.close(number=found.number, resolution="FALSE_ALARM", comment="his brother", actor=RITA)
    answer = reviewer.post(f"/api/v1/cases/{found.number}/reopen", body, format="json")
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert selectors.case(found.number).state == "CLOSED"


@pytest.mark.parametrize("state", ["OPEN", "ASSIGNED"])
def test_only_a_closed_case_is_reopened(reviewer: APIClient, state: str) -> None:
    found = case()
    if state == "ASSIGNED":
        cases.assign(number=found.number, to="rita", actor=RITA)
    answer = reviewer.post(f"/api/v1/cases/{found.number}/reopen", {"reason": "why"}, format="json")
    assert (answer.status_code, error_code(answer)) == (409, "case_not_closed")
    assert answer.json()["error"]["data"]["state"] == state
    missing = reviewer.post("/api/v1/cases/999999/reopen", {"reason": "why"}, format="json")
    assert error_code(missing) == "case_not_found"


def test_a_case_is_not_reopened_beside_an_open_one_about_the_same_suspicion(reviewer: APIClient) -> None:
    first = case()
    cases.close(number=first.number, resolution="CONFIRMED_FRAUD", comment="he said so", actor=RITA)
    second = case()
    path = f"/api/v1/cases/{first.number}/reopen"
    answer = reviewer.post(path, {"reason": "wrong"}, format="json")
    assert (answer.status_code, error_code(answer)) == (409, "another_case_open")
    assert answer.json()["error"]["data"]["number"] == second.number
    assert selectors.case(first.number).resolution == "CONFIRMED_FRAUD"
    assert not AuditEvent.objects.filter(action="case.reopened").exists()
    cases.close(number=second.number, resolution="FALSE_ALARM", comment="his brother", actor=RITA)
    assert reviewer.post(path, {"reason": "wrong"}, format="json").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_who_close_at_once_one_is_refused_and_of_two_hits_at_once_one_opens_the_case() -> None:
    opened = at_once(case, case)
    assert {each.number for each in opened} == {ReviewCase.objects.get().number} and max(e.hits for e in opened) == 2
    number = opened[0].number
    close = partial(cases.close, number=number, comment="sure", actor=RITA)
    answers = at_once(partial(close, resolution="CONFIRMED_FRAUD"), partial(close, resolution="FALSE_ALARM"))
    (refused,) = [each for each in answers if isinstance(each, DomainError)]
    (closed,) = [each for each in answers if isinstance(each, ReviewCase)]
    assert refused.code == "case_closed" and selectors.case(number).resolution == closed.resolution
    assert AuditEvent.objects.filter(action="case.closed").count() == 1
    close_old_connections()


def test_cases_are_filtered(reviewer: APIClient) -> None:
    known, replayed = case(), case(kind="REPLAY", customer_id="C-2", subject="")
    cases.assign(number=known.number, to="rita", actor=RITA)
    ReviewCase.objects.filter(pk=replayed.pk).update(opened_at=timezone.now() - timedelta(days=2))
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()
    for query, expected in (
        ({"state": "OPEN"}, replayed),
        ({"kind": "KNOWN_FRAUDSTER"}, known),
        ({"customer_id": "C-2"}, replayed),
        ({"assigned_to": "rita"}, known),
        ({"opened_after": yesterday}, known),
        ({"opened_before": yesterday}, replayed),
    ):
        (found,) = reviewer.get("/api/v1/cases", query).json()["results"]
        assert found["number"] == expected.number, query
    assert error_code(reviewer.get("/api/v1/cases", {"status": "OPEN"})) == "validation_error"


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("auditor", 200, 403), ("admin", 200, 403), ("teller", 403, 403), ("ivr", 403, 403)]
)
def test_who_is_no_reviewer_closes_no_case(role: str, reads: int, writes: int) -> None:
    client, path = api_client(role), f"/api/v1/cases/{case().number}"
    assert client.get(path).status_code == client.get("/api/v1/cases").status_code == reads
    body = {"resolution": "FALSE_ALARM", "comment": "x"}
    assert client.post(f"{path}/close", body, format="json").status_code == writes
    assert client.post(f"{path}/reopen", {"reason": "x"}, format="json").status_code == writes


# --- labelled trials ----------------------------------------------------------------------------


def closed(resolution: str, *decisions: UUID, **fields: Any) -> None:
    for decision in decisions:
        found = case(evidence={"decision_id": str(decision)}, subject=str(uuid4()), **fields)
        cases.close(number=found.number, resolution=resolution, comment="checked", actor=RITA)


def test_confirmed_fraud_is_an_impostor_s_trial_and_a_false_alarm_the_customer_s() -> None:
    fraud, alarm, unclear, disputed, replay = (uuid4() for _ in range(5))
    closed("CONFIRMED_FRAUD", fraud, disputed)
    closed("FALSE_ALARM", alarm, disputed)
    closed("INCONCLUSIVE", unclear)
    closed("CONFIRMED_FRAUD", replay, kind="REPLAY")  # the customer's own voice, by a fraudster
    case(evidence={"decision_id": str(uuid4())}, subject="still open")
    assert selectors.labelled_trials() == {fraud: False, alarm: True}


def test_calibration_ignores_a_reopened_case_and_then_takes_its_latest_resolution() -> None:
    decision = uuid4()
    found = case(evidence={"decision_id": str(decision)})
    cases.close(number=found.number, resolution="CONFIRMED_FRAUD", comment="he said so", actor=RITA)
    assert selectors.labelled_trials() == {decision: False}
    cases.reopen(number=found.number, reason="the customer's brother called", actor=RITA)
    assert selectors.labelled_trials() == {}
    cases.close(number=found.number, resolution="FALSE_ALARM", comment="his brother", actor=RITA)
    assert selectors.labelled_trials() == {decision: True}


def test_closed_cases_are_what_calibration_takes_up(worker: StandInWorker) -> None:
    model = activate_model()
    enrolled_customer("ann")
    genuine = verification.verify(customer_id="ann", audio=recording("ann"), actor=TELLER)
    impostor = verification.verify(customer_id="ann", audio=recording("mallory"), actor=TELLER)
    closed("FALSE_ALARM", genuine.pk)
    closed("CONFIRMED_FRAUD", impostor.pk)
    trials = labelled.trials_of(labelled.by_cases(), model)
    assert sorted(zip(trials.is_target.tolist(), trials.scores.tolist(), strict=True)) == [
        (False, pytest.approx(impostor.score)),
        (True, pytest.approx(genuine.score)),
    ]
