"""The page on which staff try the service with their own voice."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from enrollment.models import AudioSample, Consent, Customer, Voiceprint
from tests.support.customers import enrolled_customer
from tests.support.model import activate_model
from tests.support.people import SignIn
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining import training_data
from voiceauth.review.tasks import forget_trials
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db


def send(client: Client, step: str, voice: str, take: int, **measured: Any) -> str:
    audio = SimpleUploadedFile("recording", recording(voice, take, **measured))
    return client.post(f"/try/{step}", {"audio": audio}).content.decode()


def enrolled_trial(client: Client) -> Customer:
    activate_model()
    client.post("/try/agree")
    send(client, "enroll", "own", 0, speech_seconds=30.0)
    return Customer.objects.get(customer_id__startswith="try:")


def test_a_recording_counts_only_after_the_person_has_agreed(signed_in: SignIn, worker: StandInWorker) -> None:
    client = signed_in("reviewer")
    activate_model()
    assert 'data-code="customer_not_found"' in send(client, "enroll", "own", 0, speech_seconds=30.0)
    assert client.post("/try/agree").headers["Location"] == "/try"
    consent = Consent.objects.get()
    assert (consent.purpose, consent.text_version, consent.granted_by) == ("trial", "trial-1", "user:rita")
    page = send(client, "enroll", "own", 0, speech_seconds=12.0)
    assert "12.0 s of speech were added" in page and "8.0 s of speech are still needed" in page
    assert "ENROLLED" in send(client, "enroll", "own", 1, speech_seconds=12.0)


def test_the_answer_shows_the_probability_the_threshold_and_what_they_mean(
    signed_in: SignIn, worker: StandInWorker
) -> None:
    client = signed_in("reviewer")
    enrolled_trial(client)
    page = send(client, "verify", "own", 1)
    assert 'data-decision="ACCEPT"' in page and "at or above the threshold" in page
    assert str(Decision.objects.get().pk) in page
    assert 'data-decision="REJECT"' in (page := send(client, "verify", "another", 1))
    assert "below the threshold" in page and "does not match" in page


def test_a_recording_that_was_heard_before_is_explained_and_shows_no_probability(
    signed_in: SignIn, worker: StandInWorker
) -> None:
    client = signed_in("reviewer")
    enrolled_trial(client)
    page = send(client, "verify", "own", 0)
    assert 'data-decision="REJECT"' in page and "was heard before" in page
    assert "threshold" not in page


def test_a_teller_who_may_see_no_decisions_gets_no_link_to_one(signed_in: SignIn, worker: StandInWorker) -> None:
    client = signed_in("teller")
    enrolled_trial(client)
    page = send(client, "verify", "own", 1)
    assert 'data-decision="ACCEPT"' in page
    assert "verification/decision" not in page


def test_what_is_wrong_with_a_recording_is_said_with_its_code(signed_in: SignIn, worker: StandInWorker) -> None:
    client = signed_in("reviewer")
    enrolled_trial(client)
    page = send(client, "enroll", "own", 2, speech_seconds=0.1)
    assert 'data-code="not_enough_speech"' in page and "Record a longer one" in page
    assert 'data-code="not_audio"' in client.post("/try/verify").content.decode()


def test_forgetting_erases_the_voice_and_one_can_begin_again(signed_in: SignIn, worker: StandInWorker) -> None:
    client = signed_in("reviewer")
    enrolled_trial(client)
    client.post("/try/forget")
    assert Customer.objects.get().state == "ERASED"
    assert not AudioSample.objects.exists() and not Voiceprint.objects.exists() and not Consent.objects.exists()
    assert AuditEvent.objects.get(action="customer.erased").actor == "user:rita"
    assert "I agree" in client.get("/try").content.decode()
    client.post("/try/agree")
    assert "ENROLLED" in send(client, "enroll", "own", 0, speech_seconds=30.0)


def test_a_trial_is_forgotten_after_a_day_and_a_customer_is_not(signed_in: SignIn, worker: StandInWorker) -> None:
    trial = enrolled_trial(signed_in("reviewer"))
    customer = enrolled_customer("ann")
    day_ago = timezone.now() - timedelta(hours=25)
    Customer.objects.filter(pk=customer.pk).update(created_at=day_ago)
    forget_trials()
    trial.refresh_from_db()
    assert trial.state == "ENROLLED"
    Customer.objects.filter(pk=trial.pk).update(created_at=day_ago)
    forget_trials()
    assert dict(Customer.objects.values_list("customer_id", "state")) == {
        trial.customer_id: "ERASED",
        "ann": "ENROLLED",
    }


def test_nothing_is_trained_on_a_trial(signed_in: SignIn, worker: StandInWorker) -> None:
    trial = enrolled_trial(signed_in("reviewer"))
    customer = enrolled_customer("ann")
    assert training_data.consenting([trial.pk, customer.pk]) == [customer.pk]


def test_two_people_have_trials_of_their_own(signed_in: SignIn, worker: StandInWorker) -> None:
    enrolled_trial(signed_in("reviewer"))
    assert "I agree" in signed_in("admin").get("/try").content.decode()
    signed_in("admin").post("/try/agree")
    assert Customer.objects.filter(customer_id__startswith="try:").count() == 2


def test_the_microphone_is_allowed_to_this_page_alone(signed_in: SignIn) -> None:
    client = signed_in("admin")
    assert "microphone=(self)" in client.get("/try").headers["Permissions-Policy"]
    for path in ("/admin/", "/admin/enrollment/customer/", "/api/docs", "/healthz"):
        assert "microphone=()" in client.get(path).headers["Permissions-Policy"]
    assert "unsafe" not in client.get("/try").headers["Content-Security-Policy"]


def test_strangers_sign_in_first_and_who_may_only_read_is_refused(signed_in: SignIn) -> None:
    assert Client().get("/try").headers["Location"] == "/admin/login/?next=/try"
    for role in ("auditor", "nobody"):
        assert signed_in(role).get("/try").status_code == 403
        assert signed_in(role).post("/try/agree").status_code == 403
        assert "/try" not in signed_in(role).get("/admin/").content.decode()
    assert not Customer.objects.exists()
    assert '<a href="/try">' in signed_in("teller").get("/admin/").content.decode()
