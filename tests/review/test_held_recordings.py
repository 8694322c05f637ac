"""Recordings that wait for a second person, locking, and a watched voice from a file, through the services."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from enrollment import samples
from enrollment.models import AudioSample, Customer
from tests.support.customers import TELLER, consenting_customer, enrolled_customer, make_customer
from tests.support.model import activate_model
from tests.support.people import SignIn
from tests.support.stand_in import recording
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import services as policies
from voiceauth.screening.models import Fraudster, Watchlist

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]
HELD, CUSTOMERS = "/admin/enrollment/audiosample/", "/admin/enrollment/customer/"


@pytest.fixture(autouse=True)
def _model() -> None:
    activate_model()


def held(created_by: Actor = TELLER) -> AudioSample:
    """A recording that counts for nothing yet: its origin needs a second person."""
    content = {"enrollment": {"default": {"needs_approval": True}}}
    policies.change(content=content, reason="four eyes", based_on=0, actor=TELLER)
    consenting_customer("ann")
    audio = recording("ann", speech_seconds=30.0)
    return samples.enroll_sample(customer_id="ann", audio=audio, actor=created_by)


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_held_recording_is_listed_heard_and_approved_and_then_counts(signed_in: SignIn) -> None:
    sample, client = held(), signed_in("reviewer")
    assert "<b>1</b> recording held" in page(client, "/admin/")
    assert "ann" in page(client, HELD) and "approval" in page(client, HELD)
    shown = page(client, f"{HELD}{sample.pk}/change/")
    assert f'src="{CUSTOMERS}samples/{sample.pk}/audio/"' in shown
    assert 'href="/admin/enrollment/audiosample/"' in page(client, "/admin/")
    theirs = page(client, f"{CUSTOMERS}{sample.customer.pk}/change/")
    assert "approval" in theirs and f'<a href="{HELD}{sample.pk}/change/">Decide</a>' in theirs
    answer = client.post(f"{HELD}{sample.pk}/do/approve/", follow=True)
    assert "counts for ann from now on" in answer.content.decode()
    sample.refresh_from_db()
    assert (sample.held_for, sample.approved_by) == ([], "user:rita")
    assert Customer.objects.get(customer_id="ann").state == "ENROLLED"
    assert AuditEvent.objects.get(action="enrollment.approved").actor == "user:rita"
    assert client.get(f"{HELD}{sample.pk}/do/approve/").status_code == 404
    assert "Decide</a>" not in page(client, f"{CUSTOMERS}{sample.customer.pk}/change/")
    assert "recording held" not in page(client, "/admin/")


def test_who_brought_a_recording_in_does_not_approve_it(signed_in: SignIn) -> None:
    sample = held(created_by=Actor(name="user:rita", role="reviewer"))
    answer = signed_in("reviewer").post(f"{HELD}{sample.pk}/do/approve/", follow=True)
    assert "<code>second_person_required</code>" in answer.content.decode()
    sample.refresh_from_db()
    assert (sample.held_for, sample.approved_by) == (["APPROVAL"], "")
    refusal = AuditEvent.objects.get(action="request.refused")
    assert (refusal.actor, refusal.outcome) == ("user:rita", "refused")


def test_a_held_recording_is_removed_and_the_trail_says_so(signed_in: SignIn, people: dict[str, User]) -> None:
    sample, client = held(), signed_in("teller")
    assert "<audio" not in page(client, f"{HELD}{sample.pk}/change/")  # a teller may not listen
    client.post(f"{HELD}{sample.pk}/do/remove/")
    assert not AudioSample.objects.exists()
    assert AuditEvent.objects.get(action="enrollment.sample_removed").actor == "user:tom"


def test_removing_a_recording_that_somebody_approves_at_that_moment_deletes_nothing(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, client = held(), signed_in("reviewer")

    def late(**arguments: Any) -> Customer:
        samples.approve_sample(customer_id="ann", sample_id=sample.pk, actor=Actor(name="user:rob", role="reviewer"))
        return samples.remove_sample(**arguments)

    monkeypatch.setattr("voiceauth.review.admin.held.remove_sample", late)
    answer = client.post(f"{HELD}{sample.pk}/do/remove/", follow=True)
    assert "<code>sample_not_held</code>" in answer.content.decode()
    assert AudioSample.objects.get().approved_by == "user:rob"


def test_a_customer_is_locked_and_unlocked_with_a_reason(signed_in: SignIn) -> None:
    customer, client = make_customer(), signed_in("reviewer")
    own = f"{CUSTOMERS}{customer.pk}/"
    assert "/do/unlock/" not in page(client, f"{own}change/")
    assert "This field is required" in client.post(f"{own}do/lock/", {"reason": ""}).content.decode()
    client.post(f"{own}do/lock/", {"reason": "called in panic"})
    customer.refresh_from_db()
    assert customer.state == "LOCKED"
    assert AuditEvent.objects.get(action="customer.locked").actor == "user:rita"
    shown = page(client, f"{own}change/")
    assert "/do/unlock/" in shown and "/do/lock/" not in shown
    client.post(f"{own}do/unlock/", {"reason": "identified in the branch"})
    customer.refresh_from_db()
    assert customer.state != "LOCKED"
    events = AuditEvent.objects.filter(action__in=["customer.locked", "customer.unlocked"]).order_by("sequence")
    assert [event.data["reason"] for event in events] == ["called in panic", "identified in the branch"]
    again = client.post(f"{own}do/unlock/", {"reason": "again"}).content.decode()
    assert "<code>customer_not_locked</code>" in again


def test_a_voice_is_watched_from_a_file(signed_in: SignIn, settings: Settings) -> None:
    enrolled_customer("ann")
    path = f"/admin/screening/watchlist/{Watchlist.objects.get(is_default=True).pk}/do/add/"
    client = signed_in("reviewer")
    assert 'enctype="multipart/form-data"' in page(client, path)
    audio = SimpleUploadedFile("call.wav", recording("mallory"), content_type="audio/wav")
    client.post(path, {"audio": audio, "note": "Tuesdays"})
    assert Fraudster.objects.get().note == "Tuesdays"
    assert AuditEvent.objects.get(action="fraudster.added").actor == "user:rita"
    noise = SimpleUploadedFile("call.wav", b"no sound", content_type="audio/wav")
    assert "errorlist" in client.post(path, {"audio": noise}).content.decode()
    settings.VOICEAUTH_MAX_UPLOAD_BYTES = 10
    large = SimpleUploadedFile("call.wav", recording("mallory", take=2), content_type="audio/wav")
    assert "no larger than an upload may be" in client.post(path, {"audio": large}).content.decode()
    assert Fraudster.objects.count() == 1
