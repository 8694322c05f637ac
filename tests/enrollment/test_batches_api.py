"""Batch enrollment over HTTP."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.batches.models import BatchEnrollment, UploadedManifest
from enrollment.tasks import expire_unused
from tests.support.batches import carried_out, json_lines, line, put, said
from tests.support.clients import api_client, error_code
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db

URL = "/api/v1/batch-enrollments"


def post(client: APIClient, **body: Any) -> Response:
    return client.post(URL, body, format="json")


def post_file(client: APIClient, content: bytes, **fields: str) -> Response:
    return client.post(URL, {"manifest": SimpleUploadedFile("m.jsonl", content), **fields}, format="multipart")


def the_job(answer: Response) -> BatchEnrollment:
    assert answer.status_code == 202, answer.content
    return BatchEnrollment.objects.get(id=answer.json()["id"])


def test_a_job_goes_from_its_manifest_to_its_results(teller: APIClient, worker: StandInWorker, storage: Path) -> None:
    activate_model()
    lines = [line("ann", said(storage, "ann"), display_name="Ann"), line("bob", said(storage, "bob", speech_seconds=9))]
    put(storage, "october/manifest.jsonl", json_lines([*lines, line("eve", "eve/missing.wav")]))
    answer = post(teller, manifest="october/manifest.jsonl")
    assert (answer.json()["state"], answer.json()["progress_percent"]) == ("QUEUED", 0)
    job = carried_out(the_job(answer))

    told = teller.get(f"{URL}/{job.id}").json()
    assert (told["state"], told["progress_percent"]) == ("SUCCEEDED", 100)
    assert [told[name] for name in ("total", "enrolled", "enrolling", "skipped", "failed")] == [3, 1, 1, 0, 1]
    assert teller.get(URL, {"state": "SUCCEEDED"}).json()["results"] == [told]

    answer = teller.get(f"{URL}/{job.id}/results", HTTP_ACCEPT="application/x-ndjson")
    assert answer["Content-Type"] == "application/x-ndjson"
    ann, bob, eve = map(json.loads, answer.getvalue().splitlines())
    assert (ann["customer_id"], ann["state"], ann["speech_seconds"], ann["accepted"]) == ("ann", "ENROLLED", 30, 1)
    assert (bob["state"], eve["state"], eve["code"]) == ("ENROLLING", "FAILED", "location_not_found")
    assert teller.get("/api/v1/customers/ann").json()["display_name"] == "Ann"


def test_an_uploaded_manifest_is_sealed_and_gone_when_the_job_ends(
    teller: APIClient, worker: StandInWorker, storage: Path
) -> None:
    job = the_job(post_file(teller, json_lines([line("ann", said(storage, "ann"))]), existing="OVERWRITE"))
    assert job.existing == "OVERWRITE"
    assert b"ann" not in bytes(UploadedManifest.objects.get().content)
    assert carried_out(job).state == "SUCCEEDED"
    assert not UploadedManifest.objects.exists()


def test_the_same_client_token_answers_the_first_job_and_conflicts_for_other_content(teller: APIClient) -> None:
    content = json_lines([line("ann", "ann/1.wav")])
    first = post_file(teller, content, client_token="october")
    assert post_file(teller, content, client_token="october").json()["id"] == first.json()["id"]
    for other in (
        post_file(teller, content, client_token="october", existing="OVERWRITE"),
        post_file(teller, content + b"\n", client_token="october"),
        post(teller, manifest="m.jsonl", client_token="october"),
    ):
        assert (other.status_code, error_code(other)) == (409, "client_token_reused")
    assert post_file(api_client("teller"), content, client_token="october").json()["id"] != first.json()["id"]
    assert post_file(teller, content).json()["id"] != first.json()["id"]


@pytest.mark.parametrize("location", ["/etc/passwd", "../m.jsonl", "a/../../m", "file:///etc/passwd", "a\\b", "."])
def test_a_manifest_outside_the_storage_is_refused_at_once(teller: APIClient, location: str) -> None:
    answer = post(teller, manifest=location)
    assert (answer.status_code, error_code(answer)) == (422, "location_outside_storage")
    assert not BatchEnrollment.objects.exists()


def test_a_job_is_cancelled_before_it_begins_and_a_finished_one_is_not(
    teller: APIClient, worker: StandInWorker, storage: Path
) -> None:
    job = the_job(post_file(teller, json_lines([line("ann", said(storage, "ann"))])))
    assert teller.post(f"{URL}/{job.id}/cancel").json()["state"] == "CANCELLED"
    job = carried_out(the_job(post_file(teller, json_lines([line("ann", said(storage, "ann"))]))))
    answer = teller.post(f"{URL}/{job.id}/cancel")
    assert (answer.status_code, error_code(answer)) == (409, "job_finished")


def test_only_tellers_start_batches_and_a_wrong_request_says_what_is_wrong(
    teller: APIClient, ivr: APIClient, reviewer: APIClient, admin: APIClient
) -> None:
    for client, reads in ((ivr, 403), (reviewer, 403), (admin, 200)):
        assert (post(client, manifest="m.jsonl").status_code, client.get(URL).status_code) == (403, reads)
    for body in (
        {},
        {"manifest": "m", "existing": "KEEP"},
        {"manifest": "m", "skip": 1},
        {"manifest": "m", "client_token": ""},
    ):
        assert post(teller, **body).status_code == 400
    assert post_file(teller, b"{}\n", client_token="").status_code == 400
    missing = teller.get(f"{URL}/00000000-0000-4000-8000-000000000000/results")
    assert (missing.status_code, error_code(missing)) == (404, "batch_enrollment_not_found")


def test_results_go_some_time_after_the_end_and_the_job_stays(
    teller: APIClient, worker: StandInWorker, storage: Path, settings: Settings
) -> None:
    activate_model()
    job = carried_out(the_job(post_file(teller, json_lines([line("ann", said(storage, "ann"))]))))
    settings.VOICEAUTH_KEEP_BATCH_RESULTS_DAYS = 90
    kept_until = timezone.now() - timedelta(days=90)
    BatchEnrollment.objects.update(finished_at=kept_until + timedelta(hours=1))
    expire_unused()
    assert teller.get(f"{URL}/{job.id}/results").status_code == 200
    BatchEnrollment.objects.update(finished_at=kept_until)
    expire_unused()
    answer = teller.get(f"{URL}/{job.id}/results")
    assert (answer.status_code, error_code(answer)) == (410, "batch_results_purged")
    assert answer.json()["error"]["data"] == {"days": 90}
    assert teller.get(f"{URL}/{job.id}").json()["enrolled"] == 1
    assert AuditEvent.objects.get(action="batch_results.purged").data == {"count": 1}
