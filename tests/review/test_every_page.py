"""What holds on every page."""

import re

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from enrollment.batches.models import BatchResult
from tests.support.customers import make_customer, make_sample
from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.rows import make_decision, make_run
from voiceauth.platform.audit import SYSTEM
from voiceauth.policies.models import PolicyVersion
from voiceauth.screening import cases
from voiceauth.screening.models import Watchlist

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "",
        "verification/decision/",
        "enrollment/customer/",
        "enrollment/audiosample/",
        "mltraining/modelversion/",
        "verification/driftreport/",
        "retraining/trainingrun/",
        "policies/policyversion/",
    ],
)
def test_the_number_of_queries_does_not_grow_with_the_rows(signed_in: SignIn, path: str) -> None:
    client = signed_in("superuser")

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(f"/admin/{path}").status_code == 200
        return len(captured)

    def add(number: int) -> None:
        customer = make_customer(f"C-{number}")
        make_sample(customer)
        make_sample(customer, 2, held_for=["APPROVAL"])
        PolicyVersion.objects.create(number=number, content={}, reason="why", created_by="user:grace")
        make_decision(f"C-{number}")
        model = make_model(f"20261124-203015-{number:06d}")
        make_run(state="SUCCEEDED", model=model)

    add(1)
    queries()  # content types are cached from here on
    few = queries()
    for number in range(2, 12):
        add(number)
    assert queries() == few
    assert few <= 20


def test_pages_carry_no_inline_script_and_no_inline_style(signed_in: SignIn) -> None:
    client, run, decision = signed_in("superuser"), make_run(), make_decision()
    model, customer = make_model(), make_customer()
    held, watchlist = make_sample(customer, held_for=["APPROVAL"]), Watchlist.objects.get(is_default=True)
    PolicyVersion.objects.create(number=1, content={}, reason="why", created_by="user:grace")
    evidence = {"decision_id": str(decision.pk)}
    case = cases.open_case(kind="REPLAY", customer_id="C-1001", evidence=evidence, actor=SYSTEM)
    for path in (
        "",
        f"retraining/trainingrun/{run.pk}/change/",
        f"mltraining/modelversion/{model.pk}/change/",
        f"verification/decision/{decision.pk}/change/",
        f"screening/reviewcase/{case.pk}/change/",
        f"enrollment/customer/{customer.pk}/change/",
        "audit/auditevent/",
        "api/apiclient/do/create/",
        "enrollment/audiosample/",
        f"enrollment/audiosample/{held.pk}/change/",
        f"enrollment/customer/{customer.pk}/do/lock/",
        "policies/policyversion/1/change/",
        "policies/policyversion/do/change/",
        f"screening/watchlist/{watchlist.pk}/do/add/",
    ):
        page = client.get(f"/admin/{path}").content.decode()
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page), path
        assert not re.search(r"<style|\sstyle=|\son\w+=", page), path


def test_every_row_on_the_dashboard_has_a_title_of_its_own() -> None:
    shown = [admin.site._registry[model] for model in admin.site._registry]
    models = {page.model for page in shown} | {inline.model for page in shown for inline in page.inlines}
    assert BatchResult in models
    assert [model.__name__ for model in models if model.__str__ is Model.__str__] == []
