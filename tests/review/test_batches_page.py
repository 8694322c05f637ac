"""The pages of batch enrollments."""

from collections.abc import Callable

import pytest
from django.test import Client

from enrollment.batches.models import BatchEnrollment, BatchResult
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db
SignIn = Callable[[str], Client]
PAGE, RESULTS = "/admin/batches/batchenrollment/", "/admin/batches/batchresult/"


@pytest.fixture
def batch() -> BatchEnrollment:
    """Half done: one enrolled, two failed for one reason."""
    batch = BatchEnrollment.objects.create(
        state="QUEUED",  # between two slices
        progress_percent=50,
        manifest="monday.jsonl",
        content_hash="0" * 64,
        requested_by="teller-app",
        total=6,
        enrolled=1,
        failed=2,
    )
    for line, outcome, code in ((1, "ENROLLED", ""), (2, "FAILED", "opted_out"), (3, "FAILED", "opted_out")):
        BatchResult.objects.create(batch=batch, line=line, customer_id=f"C-{line}", outcome=outcome, code=code)
    return batch


def test_a_batch_shows_how_far_it_is_and_why_customers_failed(signed_in: SignIn, batch: BatchEnrollment) -> None:
    client = signed_in("teller")
    assert "monday.jsonl" not in client.get(PAGE).content.decode()  # the list keeps to figures
    page = client.get(f"{PAGE}{batch.pk}/change/").content.decode()
    assert "50 %" in page and "monday.jsonl" in page
    assert "<tr><th>opted out</th><td>2</td></tr>" in page
    assert 'http-equiv="refresh"' in page
    BatchEnrollment.objects.update(state="SUCCEEDED")
    assert 'http-equiv="refresh"' not in client.get(f"{PAGE}{batch.pk}/change/").content.decode()


def test_the_customers_of_a_batch_are_listed_by_outcome(signed_in: SignIn, batch: BatchEnrollment) -> None:
    other = BatchEnrollment.objects.create(content_hash="1" * 64, requested_by="teller-app")
    BatchResult.objects.create(batch=other, line=1, customer_id="C-9", outcome="FAILED", code="opted_out")
    page = signed_in("admin").get(f"{RESULTS}?batch__id__exact={batch.pk}&outcome__exact=FAILED").content.decode()
    assert "C-2" in page and "C-3" in page
    assert "C-1<" not in page and "C-9" not in page


def test_a_batch_is_cancelled_from_its_page(signed_in: SignIn, batch: BatchEnrollment) -> None:
    client = signed_in("teller")
    client.post(f"{PAGE}{batch.pk}/do/cancel/")
    batch.refresh_from_db()
    assert batch.state == "CANCELLED"  # no worker was at it
    assert AuditEvent.objects.get(action="batch_enrollment.cancelled").actor == "user:tom"
    assert "/do/cancel/" not in client.get(f"{PAGE}{batch.pk}/change/").content.decode()
    assert "errorlist" not in client.post(f"{PAGE}{batch.pk}/do/cancel/", follow=True).content.decode()
