"""``manage.py import_customers``."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from enrollment.batches.models import BatchEnrollment
from enrollment.models import AudioSample, Consent, Customer
from tests.support.batches import said
from tests.support.customers import enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.jobs import services as jobs

pytestmark = pytest.mark.django_db


def imported(folder: Path, *options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    options = ("--text-version", "2026-09", "--origin", "branch", *options)
    call_command("import_customers", str(folder), *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_folder_of_recordings_becomes_enrolled_customers(worker: StandInWorker, tmp_path: Path) -> None:
    activate_model()
    for voice in ("ann", "bob"):
        said(tmp_path, voice), said(tmp_path, voice, 2)
    (tmp_path / "ann" / ".DS_Store").write_bytes(b"?")
    out, err = imported(tmp_path)
    assert out == "2 enrolled, 0 enrolling, 0 skipped, 0 failed\n"
    assert "2/2" in err
    assert set(Customer.objects.values_list("customer_id", "state")) == {("ann", "ENROLLED"), ("bob", "ENROLLED")}
    assert AudioSample.objects.count() == 4
    assert set(Consent.objects.values_list("text_version", "origin")) == {("2026-09", "branch")}
    assert set(AuditEvent.objects.filter(customer_id="ann").values_list("actor", flat=True)) == {"import_customers"}


def test_where_customers_fail_it_names_them_and_exits_with_an_error(worker: StandInWorker, tmp_path: Path) -> None:
    said(tmp_path, "ann"), said(tmp_path, "bob", snr_db=-10.0)
    err = StringIO()
    with pytest.raises(CommandError, match="1 enrolled, 0 enrolling, 0 skipped, 1 failed"):
        call_command("import_customers", str(tmp_path), text_version="1", origin="x", stderr=err, stdout=StringIO())
    assert "bob: too_noisy" in err.getvalue()


def test_an_import_that_was_interrupted_goes_on_and_no_worker_takes_it(worker: StandInWorker, tmp_path: Path) -> None:
    said(tmp_path, "ann"), said(tmp_path, "bob")

    def before_answer() -> None:
        if len(worker.calls) == 2:
            raise KeyboardInterrupt

    worker.before_answer = before_answer
    with pytest.raises(KeyboardInterrupt):
        imported(tmp_path)
    jobs.recover()
    batch = BatchEnrollment.objects.get()
    assert (batch.state, batch.line) == ("QUEUED", 0)
    worker.before_answer = None
    assert imported(tmp_path)[0] == "2 enrolled, 0 enrolling, 0 skipped, 0 failed\n"
    assert (BatchEnrollment.objects.get().attempts, AudioSample.objects.count()) == (2, 2)


def test_existing_customers_are_skipped_or_overwritten(worker: StandInWorker, tmp_path: Path) -> None:
    enrolled_customer("ann")
    before = AudioSample.objects.get().pk
    said(tmp_path, "ann")
    assert imported(tmp_path)[0].endswith("1 skipped, 0 failed\n")
    assert imported(tmp_path, "--existing", "OVERWRITE")[0].startswith("1 enrolled")
    assert AudioSample.objects.get().pk != before


def test_a_folder_without_customers_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CommandError):
            imported(folder)
