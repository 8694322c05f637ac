import uuid
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.support.clients import api_client, error_code
from tests.support.model import make_model
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining.models import TrainingRun

pytestmark = pytest.mark.django_db

RUNS = "/api/v1/training-runs"
MODELS = "/api/v1/models"


@pytest.mark.parametrize("role", ["teller", "ivr", "reviewer"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", RUNS),
        ("post", RUNS),
        ("get", f"{RUNS}/{uuid.UUID(int=1)}"),
        ("post", f"{RUNS}/{uuid.UUID(int=1)}/cancel"),
        ("post", f"{MODELS}/v1/promote"),
    ],
)
def test_only_an_admin_trains_and_promotes(role: str, method: str, path: str) -> None:
    response = getattr(api_client(role), method)(path)
    assert (response.status_code, error_code(response)) == (403, "permission_denied")


@pytest.mark.parametrize("role", ["teller", "ivr"])
@pytest.mark.parametrize("path", [MODELS, f"{MODELS}/v1"])
def test_models_are_read_by_those_who_review_them(role: str, path: str) -> None:
    response = api_client(role).get(path)
    assert (response.status_code, error_code(response)) == (403, "permission_denied")


def test_a_run_is_queued_and_shown(admin: APIClient) -> None:
    response = admin.post(RUNS, {"config": {"training.epochs": 2}}, format="json")
    assert response.status_code == 201
    run = response.json()
    assert (run["state"], run["config"], run["requested_by"]) == ("QUEUED", {"training.epochs": 2}, "an-admin")
    assert admin.get(f"{RUNS}/{run['id']}").json() == run
    assert admin.get(RUNS).json()["results"] == [run]
    assert admin.get(RUNS, {"state": "RUNNING"}).json()["count"] == 0
    assert AuditEvent.objects.get(action="training_run.queued").actor == "an-admin"


def test_a_run_needs_no_body(admin: APIClient) -> None:
    assert admin.post(RUNS).json()["config"] == {}


def test_a_repeated_request_with_its_key_queues_one_run(admin: APIClient) -> None:
    first, second = (admin.post(RUNS, {}, format="json", HTTP_IDEMPOTENCY_KEY="k1") for _ in range(2))
    assert first.json() == second.json()
    assert TrainingRun.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"config": {"training.epoch": 2}}, "invalid_setting"),
        ({"config": {"training.epochs": "many"}}, "invalid_setting"),
        ({"config": {"dataset.data_folder": "/"}}, "setting_not_allowed"),
        ({"config": [1]}, "validation_error"),
        ({"configuration": {}}, "validation_error"),
    ],
)
def test_a_run_with_a_wrong_setting_is_refused_before_it_is_queued(
    admin: APIClient, body: dict[str, Any], expected: str
) -> None:
    response = admin.post(RUNS, body, format="json")
    assert (response.status_code, error_code(response)) == (400, expected)
    assert not TrainingRun.objects.exists()


def test_a_queued_run_is_cancelled(admin: APIClient) -> None:
    run = admin.post(RUNS).json()
    response = admin.post(f"{RUNS}/{run['id']}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "CANCELLED")


def test_a_run_that_has_ended_is_not_cancelled(admin: APIClient) -> None:
    run = TrainingRun.objects.create(state=TrainingRun.State.SUCCEEDED, requested_by="ops")
    response = admin.post(f"{RUNS}/{run.id}/cancel")
    assert (response.status_code, error_code(response)) == (409, "job_finished")


def test_an_unknown_run_is_not_found(admin: APIClient) -> None:
    for response in (admin.get(f"{RUNS}/{uuid.uuid4()}"), admin.post(f"{RUNS}/{uuid.uuid4()}/cancel")):
        assert (response.status_code, error_code(response)) == (404, "training_run_not_found")


def test_models_are_listed_with_their_state(admin: APIClient) -> None:
    make_model("v1", "ACTIVE"), make_model("v2")
    assert admin.get(MODELS).json()["count"] == 2
    assert [model["version"] for model in admin.get(MODELS, {"state": "ACTIVE"}).json()["results"]] == ["v1"]
    assert admin.get(f"{MODELS}/v2").json()["state"] == "CANDIDATE"
    assert error_code(admin.get(f"{MODELS}/v3")) == "model_not_found"


def test_a_promotion_is_accepted_and_can_be_followed(admin: APIClient) -> None:
    make_model("v1", "ACTIVE"), make_model("v2")
    response = admin.post(f"{MODELS}/v2/promote")
    assert (response.status_code, response.json()["state"]) == (202, "PROMOTING")
    assert admin.get(f"{MODELS}/v2").json()["promotion_percent"] == 0
    assert admin.post(f"{MODELS}/v2/promote").status_code == 202


def test_promoting_the_active_model_answers_it_as_it_is(admin: APIClient) -> None:
    make_model("v1", "ACTIVE")
    response = admin.post(f"{MODELS}/v1/promote")
    assert (response.status_code, response.json()["state"]) == (200, "ACTIVE")


def test_a_second_promotion_is_refused_while_one_is_under_way(admin: APIClient) -> None:
    make_model("v1"), make_model("v2")
    admin.post(f"{MODELS}/v1/promote")
    response = admin.post(f"{MODELS}/v2/promote")
    assert (response.status_code, error_code(response)) == (409, "promotion_in_progress")
    assert error_code(admin.post(f"{MODELS}/v3/promote")) == "model_not_found"
