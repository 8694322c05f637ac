"""Schemathesis against the live service: no 5xx, no answer outside the OpenAPI document.

``make contract`` sends many more requests; this keeps the contract from rotting.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.support.clients import api_client
from tests.support.customers import consenting_customer
from tests.support.model import put_into_service, register_untrained
from tests.support.workers import running_worker

# Each part of the API as the client that uses it.
PARTS = {
    "teller": "customers|batch-enrollments",
    "ivr": "verify|identify|streams",
    "reviewer": "decisions|audit|cases|watchlists|fraudsters",
    "admin": "models|recalibrations|training|approvals|policies|consent-texts",
}

EXAMPLES = os.environ.get("VOICEAUTH_TEST_EXAMPLES", "2")  # by chance, of each operation
# A valid request may still meet a state that refuses it; tokens and headers have tests of their own.
LEFT_OUT = "positive_data_acceptance,ignored_auth,missing_required_header"


def test_no_answer_of_the_live_service_is_outside_its_openapi_document(
    transactional_db: None, live_server: LiveServer, tmp_path: Path, settings: Settings
) -> None:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = 30  # the machine that tests may be busy
    settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 30
    put_into_service(register_untrained(tmp_path))
    consenting_customer("ann")
    with running_worker(tmp_path / "scoring.log", "scoring"):
        run = _schemathesis(f"{live_server.url}/api/schema", tmp_path)
    if run.returncode != 0:
        pytest.fail(f"{run.stdout[-16000:]}{run.stderr[-2000:]}")


def _schemathesis(url: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """One run for all parts, because a start takes seconds."""
    sections = [
        f"[[operations]]\ninclude-path-regex = '^/api/v1/({paths})'\n"
        f"headers = {{Authorization = 'Bearer {api_client(role).token}'}}\n"
        for role, paths in PARTS.items()
    ]
    (folder / "schemathesis.toml").write_text("".join(sections))
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", url, "--no-color"]
    command += ["--max-examples", EXAMPLES, "--phases", "coverage,fuzzing", "--exclude-checks", LEFT_OUT, "--seed", "1"]
    command += ["--suppress-health-check", "all", "--continue-on-failure"]
    command += ["--include-path-regex", f"^/api/v1/({'|'.join(PARTS.values())})"]
    return subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True, text=True)
