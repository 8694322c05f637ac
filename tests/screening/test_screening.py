"""Every voice is compared with the watchlists and with the calls of the last hours."""

from collections.abc import Iterable
from datetime import timedelta
from io import BytesIO
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from enrollment import samples
from enrollment import services as customers
from mltraining import gallery
from tests.support.clients import api_client, error_code, upload
from tests.support.customers import TELLER, consenting_customer, run_erasures
from tests.support.fraudsters import RITA, called, screened, watched
from tests.support.model import activate_model
from tests.support.stand_in import embedding_of, recording
from voiceauth.platform import storage as audio_store
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.vault import Unsealable
from voiceauth.screening import keys, services, watch, watchlists
from voiceauth.screening.messages import Screening
from voiceauth.screening.models import (
    Fraudster,
    FraudsterAudio,
    FraudsterVoiceprint,
    RecentVoice,
    ReviewCase,
)
from voiceauth.screening.risk import Hit, fraud_risk

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]


@pytest.fixture(autouse=True)
def _model() -> None:
    activate_model()


def reasons(hits: Iterable[Hit]) -> list[str]:
    return [hit.reason for hit in hits]


# --- watchlists ---------------------------------------------------------------------------------


def test_a_fraudster_s_voice_is_recognised_and_another_one_is_not() -> None:
    fraudster = watched("mallory")
    (hit,) = screened("mallory", customer_id="C-1", take=5).hits
    assert (hit.reason, hit.fraudster_id) == ("KNOWN_FRAUDSTER", str(fraudster.pk))
    assert hit.log_likelihood_ratio is not None and hit.log_likelihood_ratio > 3
    assert hit.score is not None and 0.9 < hit.score <= 1
    assert screened("ann", customer_id="C-1").hits == ()


def test_a_voice_that_claims_nobody_is_screened_too() -> None:
    watched("mallory")
    assert reasons(screened("mallory", customer_id=None).hits) == ["KNOWN_FRAUDSTER"]


def test_without_enough_speech_nobody_is_called_a_fraudster_and_no_voice_is_kept() -> None:
    watched("mallory")
    assert screened("mallory", customer_id="C-1", speech_seconds=0.4) == Screening()


def test_the_longer_the_watchlist_the_surer_a_hit_must_be(settings: Settings) -> None:
    watched("mallory")
    (hit,) = screened("mallory", customer_id="C-1").hits
    assert hit.log_likelihood_ratio is not None
    settings.VOICEAUTH_WATCHLIST_THRESHOLD = hit.log_likelihood_ratio - 0.5
    assert screened("mallory", customer_id="C-1").hits
    watched("trudy")  # ln 2 > 0.5
    assert screened("mallory", customer_id="C-1").hits == ()


def test_an_erased_fraudster_is_out_of_the_worker_s_memory_with_the_next_call() -> None:
    fraudster = watched("mallory")
    assert screened("mallory", customer_id="C-1").hits
    watchlists.erase_fraudster(fraudster_id=fraudster.pk, actor=RITA)
    assert screened("mallory", customer_id="C-1").hits == ()
    assert watch.watched._gallery is not None and not watch.watched._gallery._vectors.any()


def test_for_half_a_second_nothing_is_read_again_but_for_whoever_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fraudster = watched("mallory")
    monkeypatch.setattr(gallery, "FRESH_SECONDS", 60.0)
    monkeypatch.setattr(watch, "watched", gallery.Current(watch.Watched))
    monkeypatch.setattr(watch, "recent", gallery.Current(watch.Recent))
    assert screened("mallory", customer_id="C-1").hits
    with CaptureQueriesContext(connection) as asked:
        assert screened("ann", customer_id="C-1", take=2).hits == ()
    assert not [each["sql"] for each in asked if "screening_" in each["sql"]]
    watchlists.erase_fraudster(fraudster_id=fraudster.pk, actor=RITA)
    assert screened("mallory", customer_id="C-1").hits == ()


def test_a_call_that_is_committed_after_a_later_one_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        called("mallory", f"C-{number}", take=number)
    first, second = RecentVoice.objects.order_by("revision")
    RecentVoice.objects.filter(pk=first.pk).delete()
    screened("ann", customer_id="C-3")
    first.save(force_insert=True)
    read: list[int | None] = []
    original = watch.Recent.read_revisions

    def read_revisions(self: watch.Recent, *, after: int | None = None) -> dict[UUID, int]:
        read.append(after)
        return original(self, after=after)

    monkeypatch.setattr(watch.Recent, "read_revisions", read_revisions)
    assert reasons(screened("mallory", customer_id="C-3", take=3).hits) == ["VELOCITY"]
    assert read == [second.revision - gallery.LATE]


def test_erasing_a_fraudster_leaves_a_receipt_and_neither_key_nor_audio_nor_voiceprint() -> None:
    fraudster = watched("mallory")
    name = str(fraudster.audio.content)
    erasure = watchlists.erase_fraudster(fraudster_id=fraudster.pk, actor=RITA)
    assert erasure.counts == {"recordings": 1, "voiceprints": 1}
    assert audio_store.storage().exists(name)
    run_erasures()
    erasure.refresh_from_db()
    assert erasure.state == "SUCCEEDED" and not audio_store.storage().exists(name)
    for table in (Fraudster, FraudsterAudio, FraudsterVoiceprint):
        assert not table.objects.exists()
    event = AuditEvent.objects.get(action="fraudster.erased")
    assert event.data["erasure_id"] == str(erasure.pk) and event.actor == "user:rita"


def test_a_fraudster_expires_with_audio_and_voiceprint() -> None:
    kept, overdue = watched("mallory"), watched("trudy")
    Fraudster.objects.filter(pk=overdue.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert watchlists.expire_fraudsters() == 1
    assert Fraudster.objects.get() == kept and FraudsterAudio.objects.count() == 1
    assert AuditEvent.objects.get(action="fraudster.expired").target == f"fraudster:{overdue.pk}"


def test_neither_audio_nor_voiceprint_nor_a_recent_voice_is_in_the_database_in_the_clear() -> None:
    fraudster = watched("mallory")
    called("ann", "C-1")
    model = FraudsterVoiceprint.objects.get().model_fingerprint
    dump = BytesIO()
    for table in (Fraudster, FraudsterAudio, FraudsterVoiceprint, RecentVoice):
        for row in table.objects.values_list():
            dump.write(b"".join(bytes(value) for value in row if isinstance(value, bytes | memoryview)))
    dump.write(audio_store.read(FraudsterAudio.objects.get().content))
    assert recording("mallory", take=0) not in dump.getvalue()
    for voice, take in (("mallory", 0), ("ann", 1)):
        assert embedding_of(voice, take, model).astype("<f4").tobytes() not in dump.getvalue()
    np.testing.assert_allclose(
        keys.unseal_voiceprint(fraudster, model, FraudsterVoiceprint.objects.get().content),
        embedding_of("mallory", 0, model),
        atol=1e-6,
    )


def test_a_sealed_voice_cannot_be_moved_to_another_row() -> None:
    first, second = watched("mallory"), watched("trudy")
    with pytest.raises(Unsealable):
        keys.unseal_audio(first, audio_store.read(FraudsterAudio.objects.get(fraudster=second).content))
    called("ann", "C-1")
    voice = RecentVoice.objects.get()
    voice.customer_id = "C-2"
    with pytest.raises(Unsealable):
        keys.unseal_recent(voice)


def test_a_fraudster_who_enrolls_waits_for_a_person_and_is_a_case() -> None:
    fraudster = watched("mallory")
    consenting_customer("ann")
    audio = recording("mallory", take=2, speech_seconds=30.0)
    sample = samples.enroll_sample(customer_id="ann", audio=audio, actor=TELLER)
    assert (sample.held_for, sample.customer.state) == (["REVIEW"], "PENDING")
    case = ReviewCase.objects.get()
    assert (case.kind, case.customer_id, case.subject) == ("WATCHLIST_ENROLLMENT", "ann", str(fraudster.pk))
    assert case.evidence[0]["sample_id"] == str(sample.pk)


def test_a_teller_is_not_told_that_a_voice_is_on_a_watchlist_and_does_not_approve_it(teller: APIClient) -> None:
    watched("mallory")
    consenting_customer("ann")
    path = "/api/v1/customers/ann/enrollments"
    audio = upload(recording("mallory", take=2, speech_seconds=30.0))
    answer = teller.post(path, {"audio": audio}, format="multipart")
    listed = teller.get(path)
    for told in (answer.json(), *listed.json()["results"]):
        assert told["held_for"] == ["REVIEW"]
    for shown in (answer, listed):
        assert "FRAUD" not in shown.content.decode().upper()
    approve = f"{path}/{answer.json()['sample_id']}/approve"
    refusal = api_client("teller").post(approve)
    assert (refusal.status_code, error_code(refusal)) == (403, "review_required")
    assert api_client("reviewer").post(approve).status_code == 200


# --- velocity -----------------------------------------------------------------------------------


def test_one_voice_that_claims_a_third_customer_is_high_risk_and_the_case_names_the_others() -> None:
    assert [called("mallory", f"C-{number}", take=number)["level"] for number in (1, 2)] == ["LOW_RISK", "LOW_RISK"]
    risk = called("mallory", "C-3", take=3, decision_id=str(uuid4()))
    assert risk["level"] == "HIGH_RISK"
    (reason,) = risk["reasons"]
    assert reason["code"] == "VELOCITY" and 0.9 < reason["score"] <= 1
    case = ReviewCase.objects.get()
    assert (case.kind, case.customer_id, case.hits) == ("VELOCITY", "C-3", 1)
    assert sorted(case.evidence[0]["customers"]) == ["C-1", "C-2"] and case.evidence[0]["count"] == 3


def test_the_fourth_claim_of_the_same_voice_is_evidence_in_the_same_case() -> None:
    for number in range(1, 5):
        called("mallory", f"C-{number}", take=number)
    case = ReviewCase.objects.get()
    assert (case.customer_id, case.hits, len(case.evidence)) == ("C-3", 2, 2)


def test_a_customer_who_calls_again_and_again_is_no_suspect_nor_are_many_voices() -> None:
    for take in range(1, 6):
        assert called("ann", "C-1", take=take)["level"] == "LOW_RISK"
    for voice in ("bob", "carl", "dora"):
        assert called(voice, f"C-{voice}")["level"] == "LOW_RISK"
    assert not ReviewCase.objects.exists()


def test_calls_outside_the_window_and_beyond_the_limit_are_forgotten(settings: Settings) -> None:
    for number in (1, 2):
        called("mallory", f"C-{number}", take=number)
    RecentVoice.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert services.forget_recent() == 2
    assert called("mallory", "C-3", take=3)["level"] == "LOW_RISK"
    settings.VOICEAUTH_VELOCITY_MAX_CALLS = 2
    for number in (4, 5):
        called("ann", f"C-{number}", take=number)
    assert services.forget_recent() == 1
    assert set(RecentVoice.objects.values_list("customer_id", flat=True)) == {"C-4", "C-5"}


def test_erasing_a_customer_forgets_what_their_calls_sounded_like() -> None:
    consenting_customer("ann")
    called("ann", "ann")
    called("bob", "bob")
    customers.erase_customer(customer_id="ann", actor=TELLER)
    assert list(RecentVoice.objects.values_list("customer_id", flat=True)) == ["bob"]


def test_voices_of_two_models_are_never_compared() -> None:
    watched("mallory")
    for number in (1, 2, 3):
        called("mallory", f"C-{number}", take=number)
    activate_model("second")
    assert screened("mallory", customer_id="C-9").hits == ()


# --- acting on hits -----------------------------------------------------------------------------


def test_every_hit_opens_a_case_and_each_reason_is_told_once_with_its_highest_score() -> None:
    hits = (
        Hit(reason="REPLAY", score=0.8),
        Hit(reason="KNOWN_FRAUDSTER", score=0.97, fraudster_id="f1"),
        Hit(reason="KNOWN_FRAUDSTER", score=0.93, fraudster_id="f2"),
    )
    services.act_on(Screening(hits=hits), customer_id="C-1", evidence={"decision_id": "d"}, actor=TELLER)
    assert fraud_risk(hits) == {
        "level": "HIGH_RISK",
        "reasons": [{"code": "KNOWN_FRAUDSTER", "score": 0.97}, {"code": "REPLAY", "score": 0.8}],
    }
    found = ReviewCase.objects.order_by("kind", "subject").values_list("kind", "subject", "customer_id")
    assert list(found) == [("KNOWN_FRAUDSTER", "f1", "C-1"), ("KNOWN_FRAUDSTER", "f2", "C-1"), ("REPLAY", "", "C-1")]
    assert AuditEvent.objects.filter(action="case.opened", customer_id="C-1").count() == 3


def test_a_fraudster_s_enrollment_is_a_case_of_its_own_kind() -> None:
    found = Screening(hits=(Hit(reason="KNOWN_FRAUDSTER", score=0.97, fraudster_id="f1"),))
    services.act_on(found, customer_id="C-1", evidence={"sample_id": "s"}, enrolling=True, actor=TELLER)
    assert ReviewCase.objects.get().kind == "WATCHLIST_ENROLLMENT"


def test_no_hit_is_a_low_risk_and_opens_nothing() -> None:
    services.act_on(Screening(), customer_id="C-1", evidence={}, actor=TELLER)
    assert fraud_risk([]) == {"level": "LOW_RISK", "reasons": []} and not ReviewCase.objects.exists()
