"""The pages of batch enrollments."""

from uuid import uuid4

import pytest

from enrollment.batches.models import BatchEnrollment, BatchResult
from tests.support.people import SignIn
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db
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
    for line, state, code in ((1, "ENROLLED", ""), (2, "FAILED", "opted_out"), (3, "FAILED", "opted_out")):
        BatchResult.objects.create(batch=batch, line=line, customer_id=f"C-{line}", state=state, code=code)
    return batch


def test_a_batch_shows_how_far_it_is_and_why_customers_failed(signed_in: SignIn, batch: BatchEnrollment) -> None:
    client = signed_in("teller")
    assert "monday.jsonl" not in client.get(PAGE).content.decode()  # the list keeps to figures
    page = client.get(f"{PAGE}{batch.pk}/change/").content.decode()
    assert "50 %" in page and "monday.jsonl" in page
    assert "<tr><th>opted out</th><td>2</td></tr>" in page
    assert 'name="va-refresh"' in page
    BatchEnrollment.objects.update(state="SUCCEEDED")
    assert 'name="va-refresh"' not in client.get(f"{PAGE}{batch.pk}/change/").content.decode()


def test_the_results_of_a_batch_are_listed_by_state_and_never_mixed_with_another_batch_s(
    signed_in: SignIn, batch: BatchEnrollment
) -> None:
    other = BatchEnrollment.objects.create(content_hash="1" * 64, requested_by="teller-app")
    BatchResult.objects.create(batch=other, line=1, customer_id="C-9", state="FAILED", code="opted_out")
    client = signed_in("admin")
    page = client.get(f"{RESULTS}?batch__id__exact={batch.pk}&state__exact=FAILED").content.decode()
    assert "C-2" in page and "C-3" in page
    assert "C-1<" not in page and "C-9" not in page
    assert f"Results of the {batch}" in page
    for query in ("", "?batch__id__exact=", "?batch__id__exact=nonsense", f"?batch__id__exact={uuid4()}", "?q=C-9"):
        assert client.get(f"{RESULTS}{query}").headers["Location"] == PAGE
    assert RESULTS not in client.get("/admin/").content.decode()


@pytest.mark.parametrize(("role", "status"), [("teller", 200), ("admin", 200), ("reviewer", 403), ("nobody", 403)])
def test_who_may_see_a_batch_may_see_its_results(
    signed_in: SignIn, batch: BatchEnrollment, role: str, status: int
) -> None:
    assert signed_in(role).get(f"{RESULTS}?batch__id__exact={batch.pk}").status_code == status


def test_a_result_has_a_readable_title(signed_in: SignIn, batch: BatchEnrollment) -> None:
    result = batch.results.get(line=2)
    page = signed_in("admin").get(f"{RESULTS}{result.pk}/change/").content.decode()
    assert f"Line 2 of the {batch}" in page
    assert "object (" not in page and str(batch.pk) not in page.split("</h1>")[0].split("<h1>")[-1]


def test_a_batch_is_cancelled_from_its_page(signed_in: SignIn, batch: BatchEnrollment) -> None:
    client = signed_in("teller")
    client.post(f"{PAGE}{batch.pk}/do/cancel/")
    batch.refresh_from_db()
    assert batch.state == "CANCELLED"  # no worker was at it
    assert AuditEvent.objects.get(action="batch_enrollment.cancelled").actor == "user:tom"
    assert "/do/cancel/" not in client.get(f"{PAGE}{batch.pk}/change/").content.decode()
    assert "errorlist" not in client.post(f"{PAGE}{batch.pk}/do/cancel/", follow=True).content.decode()
