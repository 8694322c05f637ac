"""The pages of the model's owner in a real browser: wide and narrow, light and dark."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from tests.support.browser import look, needs_chromium, sign_in
from tests.support.evidence import COMPARISON, EVALUATION
from tests.support.model import make_model
from tests.support.rows import make_decision, make_drift_report

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]


def test_a_challenger_is_judged_and_thresholds_are_tried(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    model = make_model("20261101-000000-aaaaaa", state="ACTIVE")
    challenger = make_model(metrics={"comparison": COMPARISON, "evaluation": EVALUATION})
    for ratio, decision in ((5, "ACCEPT"), (3, "REJECT"), (-1, "REJECT")):
        make_decision(log_likelihood_ratio=ratio, decision=decision, model_version=model.version)
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/mltraining/modelversion/{challenger.pk}/change/")
    assert page.get_by_role("img", name="Detection error trade-off").is_visible()
    assert look(page, "challenger", complaints) == []
    page.goto(f"{live_server.url}/admin/mltraining/modelversion/{model.pk}/change/")
    page.get_by_role("link", name="Try thresholds").click()
    page.fill("[name=probability]", "0.9")
    page.get_by_role("button", name="Count").click()
    page.get_by_role("row", name="probability 0.9").wait_for()
    assert look(page, "thresholds", complaints) == []
    assert complaints == []


def test_a_report_of_drift_is_reached_from_the_overview(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    make_drift_report(make_model(state="ACTIVE"))
    sign_in(page, live_server, "grace")
    page.get_by_role("link", name="Week until").click()
    page.get_by_text("0.412, drift").wait_for()
    assert look(page, "drift", complaints) == []
    page.goto(f"{live_server.url}/admin/verification/driftreport/")
    assert look(page, "drift-reports", complaints) == []
    assert complaints == []
