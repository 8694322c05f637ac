"""Carrying a batch enrollment out: what becomes of each customer, and of the job where its worker goes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from enrollment import samples
from enrollment import services as customers
from enrollment.batches import processing, services
from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.models import AudioSample, Customer, SealedAudio, Voiceprint
from tests.support.batches import CONSENT, carried_out, json_lines, line, put, results, said, submitted
from tests.support.customers import TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from tests.support.waiting import until
from tests.support.workers import running_worker
from voiceauth.platform import storage as audio_store
from voiceauth.platform.approvals.errors import SecondPersonRequired
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import ScoringUnavailable
from voiceauth.platform.jobs import runner, shutdown, transitions
from voiceauth.platform.jobs import services as jobs
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.platform.jobs.transitions import MOST_LOST_WORKERS
from voiceauth.policies.services import change

pytestmark = pytest.mark.django_db

State = BatchEnrollment.State
ADMIN = Actor(name="ops", role="admin")


class Killed(BaseException):
    """Ends the attempt where it is, as ``kill -9`` does."""


def prints() -> dict[str, bytes]:
    rows = Voiceprint.objects.values_list("customer__customer_id", "content")
    return {customer: bytes(content) for customer, content in rows}


def takes(customer_id: str) -> set[Any]:
    return set(AudioSample.objects.filter(customer__customer_id=customer_id).values_list("sha256", flat=True))


def actions(batch: BatchEnrollment) -> list[str]:
    rows = AuditEvent.objects.filter(target=f"batch_enrollment:{batch.id}").order_by("sequence")
    return [action.removeprefix("batch_enrollment.") for action in rows.values_list("action", flat=True)]


def silence(batch: BatchEnrollment) -> None:
    """The worker was last heard of long ago."""
    BatchEnrollment.objects.filter(id=batch.id).update(heartbeat_at=timezone.now() - timedelta(hours=1))


def killed_at(batch: BatchEnrollment, worker: StandInWorker, monkeypatch: pytest.MonkeyPatch, *, call: int) -> None:
    """Carried out by a worker that is killed when the answer to its ``call``-th question arrives; the sweep ran."""

    def before_answer() -> None:
        if len(worker.calls) == before + call:
            raise Killed

    before, worker.before_answer = len(worker.calls), before_answer
    with monkeypatch.context() as patch:
        patch.setattr(transitions, "requeue", lambda job, **_: None)
        with pytest.raises(Killed):
            processing.execute(batch.id)
    worker.before_answer = None
    silence(batch)
    jobs.recover()


def test_a_customer_is_enrolled_as_by_a_teller_and_the_trail_names_requester_and_job(
    worker: StandInWorker, storage: Path
) -> None:
    model = activate_model()
    batch = carried_out(submitted(line("ann", said(storage, "ann"), said(storage, "ann", 2))))
    assert (batch.state, batch.progress_percent, actions(batch)) == (
        "SUCCEEDED",
        100,
        ["queued", "started", "succeeded"],
    )
    ann = Customer.objects.get()
    assert (ann.state, ann.speech_seconds) == ("ENROLLED", 60)
    consent = ann.consents.get()
    assert (consent.text_version, consent.origin, consent.granted_by) == ("2026-09", "branch", TELLER.name)
    assert Voiceprint.objects.get().model_fingerprint == model.fingerprint
    events = AuditEvent.objects.filter(customer_id="ann").order_by("sequence")
    told = [(event.action, event.actor, event.role, event.request_id) for event in events]
    expected = ["customer.created", "consent.given", "enrollment.accepted", "enrollment.accepted"]
    assert told == [(action, TELLER.name, "teller", str(batch.id)) for action in expected]


def test_no_recording_is_kept_in_the_clear(worker: StandInWorker, storage: Path, settings: Settings) -> None:
    before = sorted(storage.rglob("*"))
    audio = recording("ann", speech_seconds=30.0)
    carried_out(submitted(line("ann", said(storage, "ann"))))
    assert all(audio not in audio_store.read(kept.content) for kept in SealedAudio.objects.all())
    assert SealedAudio.objects.count() == 1
    written = set(storage.rglob("*")) - set(before)
    assert written == {storage / "ann", storage / "ann" / "1.wav"}  # what the bank put there
    kept = [path for path in settings.STATE_DIR.rglob("*") if path.is_file() and audio in path.read_bytes()]
    assert kept == []


def test_the_gate_refuses_single_recordings_and_the_result_says_which(worker: StandInWorker, storage: Path) -> None:
    quiet = said(storage, "ann", 2, snr_db=-10.0)
    batch = carried_out(
        submitted(line("ann", said(storage, "ann"), quiet), line("bob", said(storage, "bob", snr_db=-10.0)))
    )
    assert results(batch) == [("ann", "ENROLLED", ""), ("bob", "FAILED", "too_noisy")]
    refused = batch.results.get(customer_id="ann").refused
    assert [(each["location"], each["code"]) for each in refused] == [(quiet, "too_noisy")]


def test_skip_leaves_an_enrolled_customer_as_it_is(worker: StandInWorker, storage: Path) -> None:
    activate_model()
    enrolled_customer("ann")
    before, calls = prints(), len(worker.calls)
    newer = CONSENT | {"text_version": "2027-01"}
    batch = carried_out(submitted(line("ann", said(storage, "ann"), consent=newer)))
    assert (results(batch), batch.state) == ([("ann", "SKIPPED", "")], "SUCCEEDED")
    assert (prints(), len(worker.calls)) == (before, calls)
    assert Customer.objects.get().consents.get().text_version == "2026-09"


def test_skip_goes_on_with_a_customer_who_lacks_speech(worker: StandInWorker, storage: Path) -> None:
    consenting_customer("ann")
    samples.enroll_sample(customer_id="ann", audio=recording("ann", 9, speech_seconds=5.0), actor=TELLER)
    batch = carried_out(submitted(line("ann", said(storage, "ann"))))
    assert results(batch) == [("ann", "ENROLLED", "")]
    assert Customer.objects.get().speech_seconds == 35


def test_overwrite_replaces_the_recordings_and_keeps_one_that_the_manifest_names_again(
    worker: StandInWorker, storage: Path
) -> None:
    activate_model()
    enrolled_customer("ann")
    before = prints()
    samples.enroll_sample(customer_id="ann", audio=recording("ann", 7, speech_seconds=9.0), actor=TELLER)
    again = said(storage, "ann", 7, speech_seconds=9.0)
    batch = carried_out(submitted(line("ann", said(storage, "ann"), again), existing="OVERWRITE"))
    assert (results(batch), batch.results.get().accepted) == ([("ann", "ENROLLED", "")], 2)
    assert Customer.objects.get().speech_seconds == 39
    assert Voiceprint.objects.get().sample_count == 2
    assert prints() != before


@pytest.mark.parametrize("measured", [{"speech_seconds": 8.0}, {"snr_db": -10.0}])
def test_overwrite_with_recordings_that_do_not_suffice_leaves_the_old_voiceprint(
    worker: StandInWorker, storage: Path, measured: dict[str, float]
) -> None:
    activate_model()
    enrolled_customer("ann")
    before = takes("ann")
    batch = carried_out(submitted(line("ann", said(storage, "ann", 1, **measured)), existing="OVERWRITE"))
    assert (batch.state, batch.failed) == ("SUCCEEDED", 1)
    assert batch.results.get().code == ("too_noisy" if "snr_db" in measured else "new_audio_insufficient")
    ann = Customer.objects.get()
    assert (takes("ann"), ann.state, ann.speech_seconds) == (before, "ENROLLED", 30)
    assert Voiceprint.objects.get().sample_count == 1


def test_a_batch_does_not_end_an_opt_out(worker: StandInWorker, storage: Path) -> None:
    batch = submitted(line("ann", said(storage, "ann")), line("bob", said(storage, "bob")))
    enrolled_customer("ann")
    calls = len(worker.calls)
    for customer in ("ann", "bob"):  # bob was never a customer
        customers.withdraw_consent(customer_id=customer, purpose="voice_authentication", actor=TELLER)
    assert results(carried_out(batch)) == [("ann", "FAILED", "opted_out"), ("bob", "FAILED", "opted_out")]
    assert set(Customer.objects.values_list("state", flat=True)) == {"OPTED_OUT"}
    assert (len(worker.calls), AudioSample.objects.count()) == (calls, 0)


def test_a_batch_does_not_bring_back_who_was_erased_after_it_was_submitted(
    worker: StandInWorker, storage: Path
) -> None:
    consenting_customer("bob")
    customers.erase_customer(customer_id="bob", actor=TELLER)
    batch = submitted(line("ann", said(storage, "ann")), line("bob", said(storage, "bob")))
    consenting_customer("ann")
    customers.erase_customer(customer_id="ann", actor=TELLER)
    assert results(carried_out(batch)) == [("ann", "FAILED", "customer_erased"), ("bob", "ENROLLED", "")]
    assert not AudioSample.objects.filter(customer__customer_id="ann").exists()


def test_a_second_line_of_a_customer_is_refused(worker: StandInWorker, storage: Path) -> None:
    audio = said(storage, "ann")
    batch = carried_out(submitted(line("ann", audio), line("ann", audio), existing="OVERWRITE"))
    assert results(batch) == [("ann", "ENROLLED", ""), ("ann", "FAILED", "duplicate_customer")]


def test_who_asked_for_a_batch_cannot_approve_its_recordings(worker: StandInWorker, storage: Path) -> None:
    content = {"enrollment": {"phone": {"needs_approval": True}}}
    change(content=content, reason="phones", based_on=0, actor=ADMIN)
    batch = carried_out(submitted(line("ann", said(storage, "ann"), origin="phone")))
    assert results(batch) == [("ann", "ENROLLING", "sample_held")]
    sample = AudioSample.objects.get()
    with pytest.raises(SecondPersonRequired):
        samples.approve_sample(customer_id="ann", sample_id=sample.pk, actor=TELLER)
    samples.approve_sample(customer_id="ann", sample_id=sample.pk, actor=Actor(name="branch-8", role="teller"))
    assert Customer.objects.get().state == "ENROLLED"


def test_while_nobody_can_score_it_is_tried_again_and_no_customer_fails(worker: StandInWorker, storage: Path) -> None:
    def before_answer() -> None:
        if len(worker.calls) <= 3:
            raise ScoringUnavailable(retry_after_seconds=0.01)

    worker.before_answer = before_answer
    batch = carried_out(submitted(line("ann", said(storage, "ann"))))
    assert (results(batch), len(worker.calls)) == ([("ann", "ENROLLED", "")], 4)


def test_a_slice_that_ends_while_nobody_can_score_lets_go_and_the_old_voiceprint_is_as_it_was(
    worker: StandInWorker, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate_model()
    enrolled_customer("bob")
    before, calls = takes("bob"), len(worker.calls)
    batch = submitted(
        line("ann", said(storage, "ann")),
        line("bob", said(storage, "bob"), said(storage, "bob", 2)),
        existing="OVERWRITE",
    )

    def before_answer() -> None:
        if len(worker.calls) == calls + 3:  # bob's second
            monkeypatch.setattr(processing, "SLICE_SECONDS", -1)
            raise ScoringUnavailable(retry_after_seconds=0.01)

    worker.before_answer = before_answer
    assert (carried_out(batch).state, batch.enrolled) == (State.QUEUED, 1)
    assert takes("bob") == before
    worker.before_answer = None
    monkeypatch.setattr(processing, "SLICE_SECONDS", 60.0)
    assert results(carried_out(batch)) == [("ann", "ENROLLED", ""), ("bob", "ENROLLED", "")]
    assert len(takes("bob")) == 2 and not takes("bob") & before


def test_a_worker_that_shuts_down_lets_the_job_go_and_the_next_one_goes_on(
    worker: StandInWorker, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submitted(*(line(name, said(storage, name)) for name in ("ann", "bob", "eve")))
    asked_before = iter([False, True, False, True])  # a customer: one a worker
    monkeypatch.setattr(shutdown, "in_progress", lambda: next(asked_before, False))
    for enrolled in (1, 2):
        assert (carried_out(batch).state, batch.enrolled) == (State.QUEUED, enrolled)
    assert carried_out(batch).state == State.SUCCEEDED
    assert results(batch) == [("ann", "ENROLLED", ""), ("bob", "ENROLLED", ""), ("eve", "ENROLLED", "")]
    assert (len(worker.calls), actions(batch)) == (3, ["queued", "started", "requeued", "requeued", "succeeded"])


@pytest.mark.parametrize("existing", ["SKIP", "OVERWRITE"])
def test_where_the_worker_was_killed_no_customer_is_done_twice(
    worker: StandInWorker, storage: Path, monkeypatch: pytest.MonkeyPatch, existing: str
) -> None:
    activate_model()
    if existing == "OVERWRITE":
        enrolled_customer("bob")
    voices = ("ann", "bob", "eve")
    batch = submitted(*(line(v, said(storage, v), said(storage, v, 2)) for v in voices), existing=existing)
    calls = len(worker.calls)
    killed_at(batch, worker, monkeypatch, call=4)  # bob's second recording
    assert carried_out(batch).state == State.SUCCEEDED
    assert results(batch) == [(voice, "ENROLLED", "") for voice in voices]
    assert len(worker.calls) - calls == 7  # the one that was lost was asked for again
    for customer in Customer.objects.all():
        assert (customer.samples.count(), customer.speech_seconds) == (2, 60)
    accepted = AuditEvent.objects.filter(action="enrollment.accepted", request_id=str(batch.id))
    assert accepted.count() == 6
    assert actions(batch) == ["queued", "started", "requeued", "succeeded"]


def test_a_worker_that_was_thought_dead_changes_nothing(worker: StandInWorker, storage: Path) -> None:
    batch = submitted(line("ann", said(storage, "ann")), line("bob", said(storage, "bob")))

    def before_answer() -> None:
        worker.before_answer = None
        silence(batch)
        jobs.recover()
        assert processing.execute(batch.id)  # by another worker, to the end

    worker.before_answer = before_answer
    assert processing.execute(batch.id)
    batch.refresh_from_db()
    assert (batch.state, batch.enrolled, batch.results.count()) == (State.SUCCEEDED, 2, 2)
    assert AudioSample.objects.count() == 2


def test_results_whose_commit_went_unanswered_are_not_saved_twice(storage: Path) -> None:
    batch = submitted(line("ann", "ann/1.wav"), line("bob", "bob/1.wav"))
    held = transitions.claim(BatchEnrollment, batch.id)
    assert held is not None
    attempt = Attempt(held)
    first = [BatchResult(batch=batch, line=1, customer_id="ann", state="SKIPPED")]
    processing.save_results(attempt, first)
    processing.save_results(attempt, [*first, BatchResult(batch=batch, line=2, customer_id="bob", state="FAILED")])
    batch.refresh_from_db()
    assert (batch.skipped, batch.failed, batch.results.count()) == (1, 1, 2)


def test_a_job_that_kills_worker_after_worker_fails(
    worker: StandInWorker, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submitted(line("ann", said(storage, "ann")))
    for _ in range(MOST_LOST_WORKERS + 1):
        killed_at(batch, worker, monkeypatch, call=1)
    batch.refresh_from_db()
    assert (batch.state, batch.error_code) == (State.FAILED, "worker_lost")


def test_a_manifest_that_was_changed_meanwhile_ends_the_job(
    worker: StandInWorker, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line("ann", said(storage, "ann")), line("bob", said(storage, "bob"))]
    batch = services.submit(manifest=put(storage, "m", json_lines(lines)), actor=TELLER)
    killed_at(batch, worker, monkeypatch, call=2)
    put(storage, "m", json_lines(reversed(lines)))
    assert (carried_out(batch).state, batch.error_code) == (State.FAILED, "manifest_changed")


def test_a_job_is_cancelled_after_the_customer_that_it_is_at(worker: StandInWorker, storage: Path) -> None:
    batch = submitted(*(line(name, said(storage, name), said(storage, name, 2)) for name in ("ann", "bob", "eve")))

    def before_answer() -> None:
        if len(worker.calls) == 3:
            services.request_cancel(batch_id=batch.id, actor=TELLER)

    worker.before_answer = before_answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing, "SAVE_SECONDS", -1)
        patch.setattr(runner, "HEARTBEAT_SECONDS", -1)
        assert carried_out(batch).state == State.CANCELLED
    assert results(batch) == [("ann", "ENROLLED", ""), ("bob", "ENROLLED", "")]
    assert Customer.objects.get(customer_id="bob").samples.count() == 2
    assert actions(batch) == ["queued", "started", "cancel_requested", "cancelled"]


def test_one_job_at_a_time_and_the_next_in_line_is_sent_when_it_ends(worker: StandInWorker, storage: Path) -> None:
    first, second = submitted(line("ann", said(storage, "ann"))), submitted(line("bob", said(storage, "bob")))
    held = transitions.claim(BatchEnrollment, first.id)
    assert held is not None
    assert not processing.execute(second.id)
    BatchEnrollment.objects.update(sent_at=None)
    transitions.end(held, State.FAILED, error_code="manifest_empty")
    second.refresh_from_db()
    assert second.sent_at is not None
    assert carried_out(second).state == State.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_that_is_killed_leaves_its_job_to_the_next(
    worker: StandInWorker, storage: Path, tmp_path: Path
) -> None:
    consenting_customer("bob")
    batch = submitted(
        line("ann", "ann/missing.wav"), line("bob", said(storage, "bob")), line("eve", said(storage, "eve"))
    )
    # Nobody scores: it is at bob for as long as it takes.
    with running_worker(
        tmp_path / "training.log",
        "training",
        VOICEAUTH_BATCH_DIR=str(storage),
        VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS="0.1",
    ) as process:
        until(lambda: batch.results.count() == 1)
        process.kill()
    batch.refresh_from_db()
    assert (batch.state, batch.line) == (State.RUNNING, 1)
    assert not processing.execute(batch.id)
    silence(batch)
    jobs.recover()
    assert carried_out(batch).state == State.SUCCEEDED
    assert results(batch) == [("ann", "FAILED", "location_not_found"), ("bob", "ENROLLED", ""), ("eve", "ENROLLED", "")]
    assert AudioSample.objects.count() == 2
