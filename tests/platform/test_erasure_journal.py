"""The journal of erasures: what was erased after a backup stays erased. A rollback stands for the restore."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.files.storage import storages
from django.db import transaction

from enrollment import samples, services
from enrollment.models import AudioSample, Customer, Voiceprint
from tests.support.customers import TELLER, enrolled_customer, run_erasures
from tests.support.fraudsters import RITA, watched
from tests.support.model import activate_model
from tests.support.stand_in import recording
from voiceauth.platform import vault
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure import services as erasures
from voiceauth.platform.erasure.models import Erasure
from voiceauth.screening import watchlists
from voiceauth.screening.models import Fraudster, Watchlist

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker", "journal_folder")]


@contextmanager
def lost_afterwards() -> Iterator[None]:
    """Everything in the database since the beginning of the block is lost at its end; the storages are not."""
    backup = transaction.savepoint()
    yield
    transaction.savepoint_rollback(backup)


def erase(customer: Customer) -> None:
    services.erase_customer(customer_id=customer.customer_id, actor=TELLER)


def withdraw(customer: Customer) -> None:
    services.withdraw_consent(customer_id=customer.customer_id, purpose="voice_authentication", actor=TELLER)


def expire(customer: Customer) -> None:
    services.expire(customer)


@pytest.mark.parametrize(("forget", "state"), [(erase, "ERASED"), (withdraw, "OPTED_OUT"), (expire, "EXPIRED")])
def test_a_voice_that_came_back_with_a_backup_is_erased_again_under_the_same_id(
    forget: Callable[[Customer], None], state: str
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    with lost_afterwards():
        forget(ann)
        run_erasures()
        first = Erasure.objects.get()
        assert first.state == "SUCCEEDED"
    ann.refresh_from_db()
    assert ann.state == "ENROLLED" and Voiceprint.objects.exists()

    assert erasures.repeat_after_restore() == 1
    ann.refresh_from_db()
    assert ann.state == state and not AudioSample.objects.exists() and not Voiceprint.objects.exists()
    again = Erasure.objects.get()
    assert (again.pk, again.cause, again.customer_id) == (first.pk, first.cause, "ann")
    run_erasures()
    assert Erasure.objects.get().state == "SUCCEEDED"
    assert AuditEvent.objects.filter(action=first.cause, actor="system").exists() and chain.verify().intact
    assert erasures.repeat_after_restore() == 0


def test_a_removed_recording_is_removed_again_and_the_others_stay() -> None:
    activate_model()
    enrolled_customer("ann")
    audio = recording("ann", take=1, speech_seconds=20.0)
    other = samples.enroll_sample(customer_id="ann", audio=audio, actor=TELLER)
    with lost_afterwards():
        samples.remove_sample(customer_id="ann", sample_id=other.pk, actor=TELLER)
        run_erasures()
    assert erasures.repeat_after_restore() == 1
    assert AudioSample.objects.count() == 1 and not AudioSample.objects.filter(pk=other.pk).exists()


def test_who_opted_out_after_the_backup_without_having_been_a_customer_has_opted_out() -> None:
    with lost_afterwards():
        services.withdraw_consent(customer_id="new", purpose="voice_authentication", actor=TELLER)
        run_erasures()
    erasures.repeat_after_restore()
    assert Customer.objects.get(customer_id="new").state == "OPTED_OUT"


def test_a_customer_whom_the_backup_does_not_know_leaves_only_the_receipt() -> None:
    with lost_afterwards():
        erase(enrolled_customer("new"))
        run_erasures()
    assert erasures.repeat_after_restore() == 1
    assert not Customer.objects.exists() and Erasure.objects.get().customer_id == "new"


def test_an_erasure_before_the_backup_is_not_repeated_to_who_has_enrolled_again() -> None:
    activate_model()
    erase(enrolled_customer("ann"))
    run_erasures()
    enrolled_customer("ann")
    assert erasures.repeat_after_restore() == 0
    assert Customer.objects.get().state == "ENROLLED"


def test_watched_voices_and_their_lists_are_erased_again() -> None:
    activate_model()
    listed = watchlists.create_watchlist(name="branch 7", actor=RITA)
    erased, with_list = watched("rob"), watched("rod", watchlist_id=listed.pk)
    kept = watched("roy")
    with lost_afterwards():
        watchlists.erase_fraudster(fraudster_id=erased.pk, actor=RITA)
        watchlists.delete_watchlist(watchlist_id=listed.pk, actor=RITA)
        run_erasures()
    assert Fraudster.objects.filter(pk=with_list.pk).exists()
    assert erasures.repeat_after_restore() == 2
    assert list(Fraudster.objects.all()) == [kept] and not Watchlist.objects.filter(pk=listed.pk).exists()


def test_no_file_is_deleted_and_no_receipt_given_before_the_journal_has_the_erasure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    recordings = list(AudioSample.objects.values_list("audio__content", flat=True))
    erase(ann)
    with monkeypatch.context() as full:
        full.setattr(storages["erasures"], "_save", full_disk)
        run_erasures()
    erasure = Erasure.objects.get()
    assert (erasure.state, erasure.error_code) == ("QUEUED", "journal_unwritten")
    assert all(storages["audio"].exists(name) for name in recordings)
    run_erasures()
    assert Erasure.objects.get().state == "SUCCEEDED" and journal.has(erasure.pk)


def full_disk(*args: object) -> str:
    raise OSError(28, "No space left on device")


def test_an_entry_says_nothing_and_cannot_be_forged(journal_folder: Path) -> None:
    erase(enrolled_customer("ann"))
    run_erasures()
    (entry,) = [path for path in journal_folder.rglob("*") if path.is_file()]
    assert b"ann" not in entry.read_bytes() and entry.stat().st_mode & 0o077 == 0
    entry.chmod(0o600)
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    Erasure.objects.all().delete()
    with pytest.raises(vault.Unsealable):
        erasures.repeat_after_restore()


def test_an_erasure_that_could_not_be_repeated_does_not_begin() -> None:
    ann = enrolled_customer("ann")
    with pytest.raises(LookupError, match="ann.forgotten"):
        erasures.begin(cause="ann.forgotten", subject=ann.pk, recordings=[], counts={}, actor=TELLER)
