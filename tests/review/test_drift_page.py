"""Reports of drift on the dashboard."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.rows import make_drift_report

pytestmark = pytest.mark.django_db


def test_a_report_shows_each_measure_with_its_index_and_its_shares(signed_in: SignIn) -> None:
    report = make_drift_report(make_model(state="ACTIVE"))
    client = signed_in("reviewer")
    page = client.get(f"/admin/verification/driftreport/{report.pk}/change/").content.decode()
    for part in (
        "0.412, drift",
        "0.020, stable",
        "below 0.4",
        "0.6 and more",
        "ACCEPT",
        "600 verifications",
        "70.00 %",
    ):
        assert part in page
    listed = client.get("/admin/verification/driftreport/").content.decode()
    assert "drift: scores" in listed
    assert "scores 0.412 · decisions 0.020" in listed


def test_the_overview_shows_the_latest_report_of_the_model_in_service(signed_in: SignIn) -> None:
    model = make_model(state="ACTIVE")
    make_drift_report(model, until=timezone.now() - timedelta(days=1), alarms=[])
    client = signed_in("auditor")
    assert "no drift" in client.get("/admin/").content.decode()
    latest = make_drift_report(model)
    page = client.get("/admin/").content.decode()
    assert f"/admin/verification/driftreport/{latest.pk}/change/" in page
    assert "no drift" not in page


def test_error_rates_of_labelled_calls_carry_their_interval_and_their_counts(signed_in: SignIn) -> None:
    report = make_drift_report(make_model(state="ACTIVE"))
    client = signed_in("reviewer")
    for path in (f"verification/driftreport/{report.pk}", f"mltraining/modelversion/{report.model_id}"):
        page = client.get(f"/admin/{path}/change/").content.decode()
        assert "3.4 % (2.0 % to 5.6 %), 14 of 412" in page
        assert "0.0 % (0.0 % to 5.6 %), 0 of 65" in page
        assert "too few: 4 of 20" in page
        assert "Please correct" not in page
    report.errors = []
    report.save()
    assert "labelled calls" not in client.get(f"/admin/verification/driftreport/{report.pk}/change/").content.decode()


@pytest.mark.parametrize("role", ["teller", "nobody"])
def test_drift_is_shown_to_no_teller(signed_in: SignIn, role: str) -> None:
    report = make_drift_report(make_model(state="ACTIVE"))
    client = signed_in(role)
    assert client.get(f"/admin/verification/driftreport/{report.pk}/change/").status_code == 403
    assert "drift" not in client.get("/admin/").content.decode().lower()
