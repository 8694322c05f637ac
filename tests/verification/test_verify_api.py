"""Verification over HTTP, with the worker's own code on a stand-in model."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import samples
from enrollment import services as enrollment
from enrollment.models import Consent, Customer, Voiceprint
from mltraining import gallery
from tests.support.clients import error_code, upload
from tests.support.customers import TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform import storage as audio_store
from voiceauth.platform.api.models import IdempotentRequest
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import ScoringUnavailable
from voiceauth.screening import watch
from voiceauth.verification import selectors
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db


def verify(client: APIClient, customer_id: str, content: bytes, **headers: str) -> Response:
    return client.post("/api/v1/verify", {"customer_id": customer_id, "audio": upload(content)}, **headers)


def test_the_customers_own_voice_is_accepted_with_everything_it_rests_on(ivr: APIClient, worker: StandInWorker) -> None:
    model = activate_model()
    enrolled_customer("ann")
    answer = verify(ivr, "ann", recording("ann", speech_seconds=6.5))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["decision"], said["customer_id"], said["reasons"]) == ("ACCEPT", "ann", [])
    assert said["probability"] >= said["threshold"] == 0.5 and said["log_likelihood_ratio"] > 0
    assert said["speech_seconds"] == 6.5 and said["fallback_required"] is False
    assert said["model"] == {
        "version": model.version,
        "calibration_version": "c1",
        "fingerprint": model.fingerprint,
    }
    event = AuditEvent.objects.get(action="decision.made")
    assert (event.target, event.customer_id) == (f"decision:{said['decision_id']}", "ann")
    assert (event.actor, event.role, event.model_version, event.threshold) == ("a-ivr", "ivr", model.version, 0.5)
    assert (
        event.after is not None
        and event.after["decision"] == "ACCEPT"
        and event.after["probability"] == pytest.approx(said["probability"])
    )


def test_another_voice_is_rejected_and_needs_the_fallback(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    enrolled_customer("bob")
    said = verify(ivr, "ann", recording("bob")).json()
    assert (said["decision"], said["fallback_required"]) == ("REJECT", True)
    assert said["probability"] < said["threshold"]


def test_only_an_acceptance_counts_as_access(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    before = Customer.objects.get().last_accessed_at
    verify(ivr, "ann", recording("bob"))
    assert Customer.objects.get().last_accessed_at == before
    verify(ivr, "ann", recording("ann"))
    assert Customer.objects.get().last_accessed_at == Decision.objects.get(decision="ACCEPT").created_at


def test_a_customer_not_enrolled_yet_is_not_scored(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    consenting_customer("ann")
    samples.enroll_sample(customer_id="ann", audio=recording("ann", take=3, speech_seconds=5.0), actor=TELLER)
    worker.calls.clear()
    said = verify(ivr, "ann", recording("ann")).json()
    assert (said["decision"], said["model"], said["speech_seconds"]) == ("SPEAKER_NOT_ENROLLED", None, None)
    assert worker.calls == []


@pytest.mark.parametrize("state", ["OPTED_OUT", "EXPIRED"])
def test_a_blocked_speaker_is_not_scored(ivr: APIClient, worker: StandInWorker, state: str) -> None:
    activate_model()
    enrolled_customer("ann")
    Customer.objects.update(state=state)
    worker.calls.clear()
    said = verify(ivr, "ann", recording("ann")).json()
    assert (said["decision"], said["probability"], said["fallback_required"]) == (f"SPEAKER_{state}", None, True)
    assert worker.calls == []


@pytest.mark.parametrize(
    ("measured", "decision", "reasons"),
    [
        ({"speech_seconds": 0.9}, "NOT_ENOUGH_SPEECH", []),
        ({"snr_db": 0.5}, "INCONCLUSIVE", ["TOO_NOISY"]),
        ({"snr_db": 0.5, "clipping_ratio": 0.4}, "INCONCLUSIVE", ["TOO_NOISY", "CLIPPED"]),
    ],
)
def test_poor_audio_is_decided_without_a_score(
    ivr: APIClient, worker: StandInWorker, measured: dict[str, Any], decision: str, reasons: list[str]
) -> None:
    activate_model()
    enrolled_customer("ann")
    said = verify(ivr, "ann", recording("ann", **measured)).json()
    assert (said["decision"], said["reasons"]) == (decision, reasons)
    assert said["probability"] is said["log_likelihood_ratio"] is said["threshold"] is None
    assert said["model"]["version"] == "first"


def test_a_customer_without_a_voiceprint_under_the_model_in_service_is_inconclusive(
    ivr: APIClient, worker: StandInWorker
) -> None:
    activate_model("first")
    enrolled_customer("ann")
    activate_model("second")  # without the re-embedding that a promotion does
    said = verify(ivr, "ann", recording("ann")).json()
    assert (said["decision"], said["reasons"]) == ("INCONCLUSIVE", ["VOICEPRINT_STALE"])


def test_a_customer_blocked_while_the_call_is_scored_is_not_accepted(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    worker.before_answer = lambda: Customer.objects.update(state="LOCKED")
    said = verify(ivr, "ann", recording("ann")).json()
    assert said["decision"] == "REJECT" and said["probability"] < said["threshold"]
    assert Decision.objects.get().decision == "SPEAKER_LOCKED"


def test_a_customer_erased_while_the_call_is_scored_is_not_accepted(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")

    def erase() -> None:
        worker.before_answer = None
        enrollment.erase_customer(customer_id="ann", actor=TELLER)

    worker.before_answer = erase
    assert verify(ivr, "ann", recording("ann")).json()["decision"] == "REJECT"
    assert Decision.objects.get().decision == "SPEAKER_NOT_ENROLLED"
    assert not CallAudio.objects.exists()


def test_without_a_model_in_service_nothing_is_decided(ivr: APIClient, worker: StandInWorker) -> None:
    enrolled_customer("ann")
    answer = verify(ivr, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (503, "no_active_model")
    assert not Decision.objects.exists()


def test_audio_that_cannot_be_read_is_refused_and_the_trail_says_for_whom(
    ivr: APIClient, worker: StandInWorker
) -> None:
    activate_model()
    enrolled_customer("ann")
    answer = verify(ivr, "ann", b"\x00\x01 not a sound")
    assert (answer.status_code, error_code(answer)) == (415, "not_audio")
    assert not Decision.objects.exists() and not CallAudio.objects.exists()
    event = AuditEvent.objects.get(outcome="refused")
    assert (event.customer_id, event.actor) == ("ann", "a-ivr")


def test_a_lost_worker_is_answered_with_try_again(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")

    def lost() -> None:
        raise ScoringUnavailable(retry_after_seconds=2)

    worker.before_answer = lost
    answer = verify(ivr, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer), answer["Retry-After"]) == (503, "scoring_unavailable", "2")


def test_the_call_is_kept_sealed_for_the_days_that_are_set(
    ivr: APIClient, worker: StandInWorker, settings: Settings
) -> None:
    settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS = 7
    activate_model()
    enrolled_customer("ann")
    content = recording("bob")
    verify(ivr, "ann", content)
    kept = CallAudio.objects.get()
    assert content not in audio_store.read(kept.content) and selectors.call_audio(kept) == content
    assert kept.expires_at - kept.decision.created_at == timedelta(days=7)


def test_no_call_is_kept_where_that_is_switched_off(ivr: APIClient, worker: StandInWorker, settings: Settings) -> None:
    settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS = 0
    activate_model()
    enrolled_customer("ann")
    assert verify(ivr, "ann", recording("ann")).json()["decision"] == "ACCEPT"
    assert not CallAudio.objects.exists()


def test_no_call_is_kept_without_a_current_consent(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    Consent.objects.update(withdrawn_at=timezone.now())
    verify(ivr, "ann", recording("ann"))
    assert Decision.objects.exists() and not CallAudio.objects.exists()


def test_another_customers_voiceprint_is_of_no_use(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    ann, bob = enrolled_customer("ann"), enrolled_customer("bob")
    stolen = Voiceprint.objects.get(customer=bob)
    Voiceprint.objects.filter(customer=ann).update(content=stolen.content)
    assert verify(ivr, "ann", recording("bob")).status_code == 500
    assert not Decision.objects.filter(decision="ACCEPT").exists()


@pytest.mark.parametrize("role", ["teller", "reviewer", "admin"])
def test_only_an_ivr_verifies(role: str, request: pytest.FixtureRequest, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    answer = verify(request.getfixturevalue(role), "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (403, "permission_denied")
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"customer_id": "ann"}, {"customer_id": "a b"}, {"audio": "text"}, {"customer_id": "ann", "x": "1"}]
)
def test_a_request_that_is_not_valid_is_refused(ivr: APIClient, worker: StandInWorker, fields: dict[str, str]) -> None:
    answer = ivr.post("/api/v1/verify", fields)
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert not Decision.objects.exists()


def test_a_repeat_with_its_idempotency_key_is_decided_once(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    answers = [verify(ivr, "ann", recording("ann"), HTTP_IDEMPOTENCY_KEY="call-1") for _ in range(2)]
    assert answers[0].json() == answers[1].json() and Decision.objects.count() == 1
    other = verify(ivr, "ann", recording("bob"), HTTP_IDEMPOTENCY_KEY="call-1")
    assert (other.status_code, error_code(other)) == (422, "idempotency_key_reused")


def test_a_key_that_a_killed_process_left_behind_is_free_again_after_the_calls_own_deadline(
    ivr: APIClient, worker: StandInWorker, settings: Settings
) -> None:
    activate_model()
    enrolled_customer("ann")
    reserved: list[timedelta] = []

    def look() -> None:
        found = IdempotentRequest.objects.get()
        reserved.append(found.reserved_until - found.created_at)

    worker.before_answer = look
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = 3
    verify(ivr, "ann", recording("ann"), HTTP_IDEMPOTENCY_KEY="call-1")
    assert reserved and timedelta(seconds=6) < reserved[0] < timedelta(seconds=20)


def test_the_same_call_gives_the_same_decision(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    answers = [verify(ivr, "ann", recording("ann")).json() for _ in range(2)]
    assert answers[0]["probability"] == answers[1]["probability"]
    assert answers[0]["decision_id"] != answers[1]["decision_id"]


def test_an_accepted_call_asks_the_database_no_more_than_it_must(
    ivr: APIClient, worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "FRESH_SECONDS", 60.0)  # as in the half second after another call
    monkeypatch.setattr(watch, "watched", gallery.Current(watch.Watched))
    monkeypatch.setattr(watch, "recent", gallery.Current(watch.Recent))
    activate_model()
    enrolled_customer("ann")
    ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(recording("ann", take=7))})
    call = {"customer_id": "ann", "audio": upload(recording("ann", take=8))}
    asked: list[str] = []

    def ask(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        asked.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(ask):
        assert ivr.post("/api/v1/verify", call).json()["decision"] == "ACCEPT"
    # The web process's and the worker's together. One more for each call would be a lot: say why it is needed.
    assert len(asked) == 18, "\n".join(each[:120] for each in asked)


def test_a_call_is_asked_in_prepared_statements(ivr: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    verify(ivr, "ann", recording("ann"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        made = [statement for (statement,) in cursor.fetchall()]
    assert any(each.startswith('INSERT INTO "verification_decision"') for each in made), made
