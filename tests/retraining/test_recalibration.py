"""Another calibration: fitted by a worker, looked at, approved by a second person, in force."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from mltraining import calibrations
from mltraining.models import ModelVersion
from tests.support.clients import error_code
from tests.support.model import register_untrained
from tests.support.people import SignIn
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining import recalibration_job, recalibration_services
from voiceauth.retraining.errors import NotFitted
from voiceauth.retraining.models import Recalibration
from voiceauth.screening.models import ReviewCase
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(models_folder: Path, tmp_path: Path) -> ModelVersion:
    return register_untrained(tmp_path)


@pytest.fixture
def closed_cases(model: ModelVersion) -> None:
    """600 calls that were accepted from a score of 0.5 on: a third are the customers', the others fraudsters'."""
    random = np.random.default_rng(1)
    known: dict[str, list[dict[str, str]]] = {"FALSE_ALARM": [], "CONFIRMED_FRAUD": []}
    made = []
    for number in range(600):
        score = (0.6 if number % 3 == 0 else 0.2) + random.normal(0, 0.1)
        call = Decision(
            kind="verify",
            decision="ACCEPT" if score > 0.5 else "REJECT",
            customer_id=f"C-{number % 40}",
            model_version=model.version,
            model_fingerprint=model.fingerprint,
            score=score,
            speech_seconds=4.0,
            enrollment_speech_seconds=25.0,
            snr_db=20.0,
        )
        made.append(call)
        known["FALSE_ALARM" if number % 3 == 0 else "CONFIRMED_FRAUD"].append({"decision_id": str(call.pk)})
    Decision.objects.bulk_create(made)
    for resolution, evidence in known.items():
        ReviewCase.objects.create(
            kind="KNOWN_FRAUDSTER", state="CLOSED", resolution=resolution, evidence=evidence, customer_id=resolution
        )


def fit(model: ModelVersion) -> Recalibration:
    asked = recalibration_services.request_recalibration(version=model.version, source="cases", actor=SYSTEM)
    recalibration_job.execute(asked.pk)
    asked.refresh_from_db()
    return asked


def test_what_was_fitted_says_what_it_would_have_decided_and_changes_nothing(
    model: ModelVersion, closed_cases: None
) -> None:
    before = calibrations.in_force(model.version)
    fitted = fit(model)
    assert (fitted.state, fitted.measured_on["target_trials"], fitted.measured_on["speakers"]) == ("SUCCEEDED", 200, 40)
    preview = fitted.preview
    then = Decision.objects.filter(decision="ACCEPT").count()
    assert (preview["total"], preview["accepted"]) == (600, then)
    in_force = next(each for each in preview["outcomes"] if each["in_force"])
    assert in_force["rate"] == 0.01
    assert in_force["accepted"] == then + in_force["newly_accepted"] - in_force["newly_rejected"]
    rates = [each["rate"] for each in preview["outcomes"]]
    accepted = [each["accepted"] for each in preview["outcomes"]]
    assert rates == sorted(rates, reverse=True) and accepted == sorted(accepted, reverse=True)
    assert calibrations.in_force(model.version) == before
    event = AuditEvent.objects.get(action="recalibration.succeeded")
    assert event.data["calibration_version"] == fitted.parameters["version"]


def test_too_few_labelled_calls_are_said_and_nothing_is_fitted(model: ModelVersion) -> None:
    fitted = fit(model)
    assert (fitted.state, fitted.error_code) == ("FAILED", "cannot_calibrate")
    with pytest.raises(NotFitted):
        recalibration_services.request_force(recalibration_id=fitted.pk, reason="why", actor=SYSTEM)


def test_a_second_person_puts_it_into_force(
    signed_in: SignIn, people: dict[str, User], model: ModelVersion, closed_cases: None
) -> None:
    fitted, grace = fit(model), signed_in("admin")
    page = f"/admin/retraining/recalibration/{fitted.pk}"
    shown = grace.get(f"{page}/change/").content.decode()
    assert "What it would have decided on 600 verifications" in shown and "Put into force" in shown
    grace.post(f"{page}/do/put-into-force/", {"reason": "a quarter of cases"})
    approval = Approval.objects.get()
    assert "errorlist" in grace.post(f"/admin/approvals/approval/{approval.pk}/do/approve/").content.decode()
    assert signed_in("superuser").post(f"/admin/approvals/approval/{approval.pk}/do/approve/").status_code == 302
    now = calibrations.in_force(model.version)
    assert now is not None and now.version == fitted.parameters["version"]
    event = AuditEvent.objects.get(action="model.recalibrated")
    assert (event.actor, event.after) == ("user:sue", {"calibration_version": now.version})
    assert "IN FORCE" in grace.get(f"{page}/change/").content.decode()


@pytest.mark.parametrize(
    ("role", "sees", "may"),
    [("admin", True, True), ("reviewer", True, False), ("auditor", True, False), ("teller", False, False)],
)
def test_who_may_see_and_ask_for_a_calibration(
    signed_in: SignIn, model: ModelVersion, role: str, sees: bool, may: bool
) -> None:
    client: Any = signed_in(role)
    response = client.post(f"/admin/mltraining/modelversion/{model.pk}/do/recalibrate/", {"source": "cases"})
    assert response.status_code == (302 if may else 403)
    assert Recalibration.objects.exists() is may
    row = Recalibration.objects.first() or recalibration_services.request_recalibration(
        version=model.version, source="cases", actor=SYSTEM
    )
    for path in ("", f"{row.pk}/change/"):
        assert client.get(f"/admin/retraining/recalibration/{path}").status_code == (200 if sees else 403)
    assert client.post(f"/admin/retraining/recalibration/{row.pk}/do/put-into-force/").status_code == (
        200 if may else 403
    )


def test_by_the_api_it_is_fitted_looked_at_and_put_into_force_by_two(
    admin: APIClient, model: ModelVersion, closed_cases: None
) -> None:
    fits = f"/api/v1/models/{model.version}/recalibrations"
    asked = admin.post(fits, {"source": "cases"}, format="json")
    said = asked.json()
    assert (asked.status_code, said["state"], said["preview"], said["measured_on"]) == (201, "QUEUED", None, None)
    path = f"/api/v1/recalibrations/{said['id']}"
    early = admin.post(f"{path}/put-into-force", {"reason": "a quarter of cases"}, format="json")
    assert (early.status_code, error_code(early)) == (409, "not_fitted")
    recalibration_job.execute(said["id"])
    fitted = admin.get(path).json()
    assert (fitted["state"], fitted["in_force"]) == ("SUCCEEDED", False)
    assert (fitted["measured_on"]["target_trials"], fitted["preview"]["total"]) == (200, 600)
    assert [each["rate"] for each in fitted["preview"]["outcomes"] if each["in_force"]] == [0.01]
    assert admin.get(fits).json()["results"] == [fitted]
    approval = admin.post(f"{path}/put-into-force", {"reason": "a quarter of cases"}, format="json")
    approve = f"/api/v1/approvals/{approval.json()['id']}/approve"
    assert approval.status_code == 202 and error_code(admin.post(approve)) == "second_person_required"
    approvals.approve(approval_id=approval.json()["id"], actor=Actor(name="user:sue", role="admin"))
    assert admin.get(path).json()["in_force"]
    assert admin.get(f"/api/v1/models/{model.version}").json()["calibration_version"] == fitted["calibration_version"]


def test_what_the_api_cannot_recalibrate_is_said(admin: APIClient, reviewer: APIClient, model: ModelVersion) -> None:
    fits = f"/api/v1/models/{model.version}/recalibrations"
    assert error_code(admin.post(fits, {"source": "guesses"}, format="json")) == "validation_error"
    assert error_code(admin.post("/api/v1/models/none/recalibrations", {"source": "cases"}, format="json")) == (
        "model_not_found"
    )
    assert error_code(admin.get("/api/v1/models/none/recalibrations")) == "model_not_found"
    assert error_code(admin.get(f"/api/v1/recalibrations/{uuid4()}")) == "recalibration_not_found"
    assert reviewer.get(fits).status_code == 200
    assert error_code(reviewer.post(fits, {"source": "cases"}, format="json")) == "permission_denied"
