"""What Prometheus is told, and what the dashboard and the alerts ask of it."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from mltraining import readings, worker_client
from tests.support.clients import SignedIn, api_client, upload
from tests.support.customers import enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from tests.support.web import running_web
from voiceauth.platform.erasure.models import Erasure

DOCKER = Path(settings.BASE_DIR) / "docker" / "monitoring"
pytestmark = pytest.mark.django_db

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def asked(client: SignedIn) -> Samples:
    answer = client.get("/api/v1/metrics", HTTP_ACCEPT="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert answer.status_code == 200, answer.content
    return scraped(answer.content.decode())


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def test_only_who_may_read_metrics_does(ivr: SignedIn, anonymous: SignedIn) -> None:
    assert anonymous.get("/api/v1/metrics").status_code == 401
    assert ivr.get("/api/v1/metrics").json()["error"]["code"] == "permission_denied"
    prometheus = api_client("auditor", scopes=["metrics:read"])
    assert asked(prometheus) and prometheus.get("/api/v1/audit-events").status_code == 403


def test_decisions_requests_and_errors_are_counted_without_anything_of_a_customer(
    ivr: SignedIn,
    auditor: SignedIn,
    worker: StandInWorker,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    model = activate_model()
    enrolled_customer("zq-marker-4711")
    before = asked(auditor)
    with django_capture_on_commit_callbacks(execute=True):
        for customer_id in ("zq-marker-4711", "somebody-zq-marker-4711"):
            audio = upload(recording("zq-marker-4711", take=7))
            ivr.post("/api/v1/verify", {"customer_id": customer_id, "audio": audio})
    ivr.get("/api/v1/customers/zq-marker-4711")
    after = asked(auditor)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert more("voiceauth_decisions_total", kind="verify", decision="ACCEPT") == 1
    assert more("voiceauth_decisions_total", kind="verify", decision="SPEAKER_NOT_ENROLLED") == 1
    assert more("voiceauth_requests_total", method="POST", route="api/v1/verify", status="200") == 2
    assert more("voiceauth_request_seconds_count", method="POST", route="api/v1/verify") == 2
    assert more("voiceauth_refusals_total", code="permission_denied") == 1
    assert ("voiceauth_model_info", (("calibration", "c1"), ("model", model.version))) in after
    assert "zq-marker" not in repr(after)


def test_the_stages_of_a_verification_add_up_to_its_time(
    ivr: SignedIn, auditor: SignedIn, worker: StandInWorker
) -> None:
    activate_model()
    enrolled_customer("ann")
    before = asked(auditor)
    ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(recording("ann", take=7))})
    after = asked(auditor)
    route = {"method": "POST", "route": "api/v1/verify"}
    spent = {
        dict(labels)["stage"]: seconds - before.get((name, labels), 0.0)
        for (name, labels), seconds in after.items()
        if name == "voiceauth_request_stage_seconds_sum" and route.items() <= dict(labels).items()
    }
    assert {"authentication", "database", "audit", "web"} <= spent.keys()
    assert min(spent.values()) >= 0
    total = value(after, "voiceauth_request_seconds_sum", **route)
    total -= value(before, "voiceauth_request_seconds_sum", **route)
    assert sum(spent.values()) == pytest.approx(total)


def test_jobs_and_the_age_of_the_oldest_open_one_are_told(auditor: SignedIn) -> None:
    Erasure.objects.create(customer_id="ann", subject=uuid4(), requested_by="x")
    samples = asked(auditor)
    assert value(samples, "voiceauth_jobs", kind="erasure", state="QUEUED") == 1
    kinds = {dict(labels)["kind"] for name, labels in samples if name == "voiceauth_jobs"}
    assert len(kinds) >= 4
    assert 0 <= value(samples, "voiceauth_oldest_open_job_seconds", kind="erasure") < 60


def test_the_queue_is_as_old_as_its_oldest_question(auditor: SignedIn) -> None:
    redis = worker_client.connection()
    redis.delete("scoring")
    try:
        assert readings.queue_age_seconds() == {("scoring",): 0.0}
        redis.set("question:a", b"sealed")
        for call_id in ("a", "gone"):
            redis.lpush("scoring", json.dumps({"headers": {"id": call_id}}))
        assert readings.queue_length() == {("scoring",): 2.0}
        assert 0 <= readings.queue_age_seconds()[("scoring",)] < 60
    finally:
        redis.delete("scoring", "question:a")


def test_a_reading_that_fails_is_left_out_and_told(auditor: SignedIn, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    samples = asked(auditor)
    assert value(samples, "voiceauth_reading_failed", gauge="voiceauth_queue_age_seconds") == 1
    assert value(samples, "voiceauth_reading_failed", gauge="voiceauth_jobs") == 0


@pytest.mark.django_db(transaction=True)
def test_the_processes_of_the_web_server_count_together(tmp_path: Path) -> None:
    import httpx

    token = api_client("auditor").token
    with running_web(tmp_path) as port:

        def get(path: str) -> Any:  # a new connection each time, which either process may take
            return httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=60)

        for _ in range(12):
            assert get("/healthz").status_code == 200
        samples = scraped(get("/api/v1/metrics").text)
        assert value(samples, "voiceauth_requests_total", method="GET", route="healthz", status="200") == 12


def exposed() -> set[str]:
    """The names of all metrics, whether or not they have a value."""
    from prometheus_client import REGISTRY

    from voiceauth.platform import metrics

    names = {reading.name for reading in metrics._readings} | {"up", "voiceauth_reading_failed"}
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def expressions() -> list[str]:
    dashboard = json.loads((DOCKER / "dashboard.json").read_text())
    rules = yaml.safe_load((DOCKER / "alerts.yaml").read_text())["groups"][0]["rules"]
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
        *(rule["expr"] for rule in rules),
    ]


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() -> None:
    found = {name for expression in expressions() for name in re.findall(r"\bvoiceauth_\w+(?=[\[{)]|$)", expression)}
    assert len(found) > 10
    assert found - exposed() - {"voiceauth_jobs"} == set()


def test_every_alert_has_an_entry_in_the_runbook() -> None:
    rules = yaml.safe_load((DOCKER / "alerts.yaml").read_text())["groups"][0]["rules"]
    guide = (Path(settings.BASE_DIR) / "docs" / "operations.md").read_text()
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    headings = re.findall(r"^#### (Voiceauth\w+)$", guide, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules]
