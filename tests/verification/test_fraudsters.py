"""A customer's own voice goes on a watchlist only once a second person has approved it."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.models import Customer
from enrollment.services import lock_customer
from tests.support.clients import api_client, error_code, upload
from tests.support.customers import TELLER, enrolled_customer
from tests.support.fraudsters import RITA, default, screened
from tests.support.model import activate_model
from tests.support.people import SignIn
from tests.support.stand_in import recording
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.screening import cases
from voiceauth.screening.models import Fraudster
from voiceauth.verification import services as verification
from voiceauth.verification.models import Decision

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]
REASON = "she recorded the calls of the gang herself"


@pytest.fixture(autouse=True)
def ann(worker: Any) -> Customer:
    """An enrolled customer under the model in service."""
    activate_model()
    return enrolled_customer("ann")


def called(voice: str, take: int = 1) -> Decision:
    """A call in that voice that claims to be ann, whose audio is kept."""
    return verification.verify(customer_id="ann", audio=recording(voice, take=take), actor=TELLER)


def put(client: APIClient, **fields: Any) -> Response:
    return client.post(f"/api/v1/watchlists/{default().pk}/fraudsters", fields, format="multipart")


def uploaded(voice: str = "ann", take: int = 7) -> dict[str, Any]:
    return {"audio": upload(recording(voice, take=take))}


def refused(answer: Response) -> None:
    assert (answer.status_code, error_code(answer)) == (409, "customers_voice")
    assert answer.json()["error"]["data"]["customer_id"] == "ann"
    assert not Fraudster.objects.exists()


def test_an_uploaded_recording_of_a_customer_is_refused(reviewer: APIClient) -> None:
    refused(put(reviewer, **uploaded()))


def test_an_uploaded_recording_of_a_stranger_is_added_at_once_with_or_without_a_reason(reviewer: APIClient) -> None:
    assert put(reviewer, **uploaded("mallory")).status_code == 201
    assert put(reviewer, **uploaded("trudy"), reason=REASON).status_code == 201
    assert not Approval.objects.exists()


def test_an_uploaded_recording_of_a_locked_customer_is_refused(reviewer: APIClient) -> None:
    lock_customer(customer_id="ann", reason="stolen card", actor=RITA)
    refused(put(reviewer, **uploaded()))


def test_the_call_of_an_accepted_decision_is_refused(reviewer: APIClient) -> None:
    decision = called("ann")
    assert decision.decision == "ACCEPT"
    refused(put(reviewer, decision_id=str(decision.pk)))


def test_the_call_of_a_refused_decision_that_speaks_for_the_customer_is_refused(reviewer: APIClient) -> None:
    decision = called("mallory")
    assert decision.log_likelihood_ratio is not None and decision.log_likelihood_ratio < 0
    Decision.objects.filter(pk=decision.pk).update(log_likelihood_ratio=0.1)
    refused(put(reviewer, decision_id=str(decision.pk)))


def test_a_replayed_recording_is_refused_although_the_call_was(reviewer: APIClient) -> None:
    called("ann", take=3)
    replay = called("ann", take=3)
    assert (replay.decision, replay.reasons) == ("REJECT", ["REPLAY"])
    Customer.objects.update(state=Customer.State.EXPIRED)  # so that no voiceprint of hers is compared
    refused(put(reviewer, decision_id=str(replay.pk)))


def test_another_voice_in_a_customer_s_name_is_added_at_once(reviewer: APIClient) -> None:
    assert put(reviewer, decision_id=str(called("mallory").pk)).status_code == 201


def test_a_second_person_s_approval_lets_the_same_request_through_once(reviewer: APIClient) -> None:
    asked = put(reviewer, **uploaded(), reason=REASON)
    assert asked.status_code == 202 and not Fraudster.objects.exists()
    approval = asked.json()
    assert (approval["action"], approval["parameters"]["customer_id"]) == ("fraudster.add_customers_voice", "ann")
    assert put(reviewer, **uploaded(), reason=REASON).json()["id"] == approval["id"]  # still waiting
    approve = f"/api/v1/approvals/{approval['id']}/approve"
    assert error_code(reviewer.post(approve)) == "second_person_required"
    assert api_client("admin").post(approve).json()["state"] == "APPROVED"
    refused(put(reviewer, **uploaded(take=8)))  # another recording is another request
    refused(put(api_client("reviewer"), **uploaded()))  # and so is another person's
    assert put(reviewer, **uploaded()).status_code == 201
    assert screened("ann", customer_id="C-1", take=9).hits
    event = AuditEvent.objects.get(action="fraudster.added")
    assert event.customer_id == "ann"
    assert Approval.objects.get(pk=approval["id"]).state == "EXECUTED"
    assert put(reviewer, **uploaded(), another_person="true", reason=REASON).status_code == 202  # asks anew


def test_what_a_repeat_with_the_same_key_gets_is_the_approval(reviewer: APIClient) -> None:
    answers = [
        reviewer.post(
            f"/api/v1/watchlists/{default().pk}/fraudsters",
            {**uploaded(), "reason": REASON},
            format="multipart",
            headers={"Idempotency-Key": "k1"},
        )
        for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()


def test_the_dashboard_asks_for_a_second_person_too(signed_in: SignIn) -> None:
    evidence = {"reason": "KNOWN_FRAUDSTER", "score": 0.97, "decision_id": str(called("ann").pk)}
    case = cases.open_case(kind="KNOWN_FRAUDSTER", customer_id="ann", evidence=evidence, actor=RITA)
    cases.close(number=case.number, resolution="CONFIRMED_FRAUD", comment="sure", actor=RITA)
    client: Client = signed_in("reviewer")
    for path, given in (
        (f"screening/reviewcase/{case.pk}/do/watch/", {"watchlist": str(default().pk)}),
        (f"screening/watchlist/{default().pk}/do/add/", uploaded()),
    ):
        assert "customers_voice" in client.post(f"/admin/{path}", given).content.decode()
        if "audio" in given:
            given |= uploaded()
        shown = client.post(f"/admin/{path}", given | {"reason": REASON}, follow=True).content.decode()
        assert "a second person must approve" in shown
    assert Approval.objects.count() == 2 and not Fraudster.objects.exists()
