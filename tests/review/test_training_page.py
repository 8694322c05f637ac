"""Training runs: started, followed and cancelled."""

import pytest

from tests.support.people import SignIn
from tests.support.rows import make_run
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining.models import TrainingRun

pytestmark = pytest.mark.django_db


def test_starting_a_run_queues_it_with_the_overrides_given(signed_in: SignIn) -> None:
    overrides = "training.epochs=15\n\n training.batch_size = 16 \n"
    response = signed_in("admin").post("/admin/retraining/trainingrun/do/start/", {"overrides": overrides})
    assert response.status_code == 302
    run = TrainingRun.objects.get()
    assert run.config == {"training.epochs": 15, "training.batch_size": 16}
    assert run.requested_by == "user:grace"


@pytest.mark.parametrize("overrides", ["epochs=3", "training.epochs", "training.epochs=[", "training.no_such_key=1"])
def test_overrides_that_cannot_be_used_are_refused_with_the_reason(signed_in: SignIn, overrides: str) -> None:
    response = signed_in("admin").post("/admin/retraining/trainingrun/do/start/", {"overrides": overrides})
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_cancelling_a_queued_run_cancels_it(signed_in: SignIn) -> None:
    run = make_run(state="QUEUED")
    signed_in("admin").post(f"/admin/retraining/trainingrun/{run.pk}/do/cancel/")
    run.refresh_from_db()
    assert run.state == "CANCELLED"


def test_cancelling_a_run_that_has_ended_is_refused_and_recorded(signed_in: SignIn) -> None:
    run = make_run(state="SUCCEEDED")
    response = signed_in("admin").post(f"/admin/retraining/trainingrun/{run.pk}/do/cancel/")
    assert "errorlist" in response.content.decode()
    assert AuditEvent.objects.filter(action="request.refused", actor="user:grace").exists()


def test_a_run_shows_its_curves_and_reloads_until_it_has_ended(signed_in: SignIn) -> None:
    run, client = make_run(), signed_in("admin")
    path = f"/admin/retraining/trainingrun/{run.pk}/change/"
    page = client.get(path).content.decode()
    assert 'aria-label="Loss over 7 epochs"' in page
    assert 'aria-label="ROC AUC over 7 epochs"' in page
    assert 'name="va-refresh"' in page
    TrainingRun.objects.update(state="SUCCEEDED")
    assert 'name="va-refresh"' not in client.get(path).content.decode()
