"""The first page: what happened and what needs attention, for each role."""

from datetime import timedelta

import pytest
from django.utils import timezone
from redis import ConnectionError

from mltraining import readings
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


def test_the_overview_tells_rates_fraud_risks_the_queue_and_how_long_scoring_took(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    risk = {"level": "HIGH_RISK", "reasons": [{"code": "REPLAY", "score": 0.9}]}
    make_decision(scoring_milliseconds=50.0)
    make_decision(scoring_milliseconds=70.0)
    make_decision(decision="REJECT", reasons=["REPLAY"], fraud_risk=risk, scoring_milliseconds=90.0)
    make_decision(decision="INCONCLUSIVE", probability=None, scoring_milliseconds=None)
    old = make_decision(scoring_milliseconds=9000.0)
    type(old).objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    client = signed_in("reviewer")
    shown = client.get("/admin/").content.decode()
    for part in ("50.0 %", "25.0 %", 'href="/admin/verification/decision/?risk=any">1</a>', "0 <small>waiting"):
        assert part in shown
    assert "median 70 ms, 95&nbsp;% within 88 ms on the worker (3 scored)" in shown
    monkeypatch.setattr(readings, "queue_length", lambda: {("scoring",): 7.0})
    monkeypatch.setattr(readings, "queue_age_seconds", lambda: {("scoring",): 4.0})
    shown = client.get("/admin/").content.decode()
    assert "7 <small>waiting" in shown and "waited for 4 s" in shown
    for role in ("teller", "nobody"):
        shown = signed_in(role).get("/admin/").content.decode()
        assert "waiting</small>" not in shown and "fraud risk" not in shown


def test_the_overview_opens_while_the_queue_does_not_answer(signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise ConnectionError

    monkeypatch.setattr(readings, "queue_length", down)
    assert "The queue does not answer" in signed_in("admin").get("/admin/").content.decode()
