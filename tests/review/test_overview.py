"""The first page: what happened and what needs attention, for each role."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.customers import make_customer
from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.rows import make_decision
from voiceauth.platform.api.models import ApiClient

pytestmark = pytest.mark.django_db


def test_the_overview_tells_a_reviewer_what_happened_and_a_teller_only_of_customers(signed_in: SignIn) -> None:
    make_customer()
    make_decision()
    make_decision(decision="REJECT", probability=0.1)
    model = make_model(state="ACTIVE")
    page = signed_in("reviewer").get("/admin/").content.decode()
    calibration = model.calibrations.get()
    trials = f"{calibration.target_trials:,} target and {calibration.impostor_trials:,} impostor trials"
    assert "A call without a tier is accepted from probability" in page and trials in page
    model.calibrations.update(impostor_trials=6)
    assert "Too little evidence" in signed_in("reviewer").get("/admin/").content.decode()
    for part in ("Decisions, last 24 hours", "<b>1</b> ACCEPT", "<b>1</b> REJECT", "Active for 3", "enrolled of 1"):
        assert part in page
    page = signed_in("teller").get("/admin/").content.decode()
    assert "enrolled of 1" in page
    assert "Decisions" not in page
    assert "Audit trail" not in page


def test_the_overview_counts_the_tokens_that_end_soon_for_who_may_see_them(signed_in: SignIn) -> None:
    now = timezone.now()
    for number, (days, revoked_at) in enumerate([(29, None), (31, None), (1, now), (-1, None)]):
        ends = {"expires_at": now + timedelta(days=days), "revoked_at": revoked_at}
        ApiClient.objects.create(name=f"IVR {number}", role="ivr", token_hash=f"{number:064x}", **ends)
    tile = '<a class="va-count" href="/admin/api/apiclient/"><b>2</b> tokens to rotate</a>'
    assert tile in signed_in("admin").get("/admin/").content.decode()
    assert "tokens to rotate" not in signed_in("reviewer").get("/admin/").content.decode()


def test_the_overview_says_so_where_nothing_is_there_yet(signed_in: SignIn) -> None:
    page = signed_in("admin").get("/admin/").content.decode()
    for part in ("No call yet", "Calls are not scored until a model is trained", "No run is queued"):
        assert part in page
