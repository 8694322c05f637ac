"""docs/examples against the live service, with the model that ships and the recordings of docs/samples."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from enrollment.models import Customer
from mltraining import worker_client
from mltraining.speech.audio.decoding import decode
from tests.support.audio import encode, wav
from tests.support.clients import api_client
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, SAMPLES = ROOT / "docs" / "examples", ROOT / "docs" / "samples"
COMMANDS = {
    "integrate.py": [sys.executable, str(EXAMPLES / "integrate.py")],
    "integrate.mjs": ["node", str(EXAMPLES / "integrate.mjs")],
    "integrate.sh": ["bash", str(EXAMPLES / "integrate.sh")],
    # `java Integrate.java` compiles it each time.
    "Integrate.java": ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "Integrate"],
}
NEEDS = {"integrate.sh": ("curl", "jq"), "Integrate.java": ("javac",)}


class Example:
    """One example, and the tokens of a teller and an IVR for it."""

    def __init__(self, name: str, url: str, folder: Path, classes: Path) -> None:
        self.name, self.folder = name, folder
        tokens = {f"{role.upper()}_TOKEN": api_client(role).token for role in ("teller", "ivr")}
        self.environment = os.environ | tokens | {"VOICEAUTH_URL": url}
        self.environment |= {"PYTHONPATH": str(ROOT), "CLASSPATH": str(classes)}

    def run(self, *arguments: str) -> list[str]:
        """Run it in the folder with the recordings; the lines that it prints."""
        command = [*COMMANDS[self.name], *arguments]
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout.splitlines()


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled Java example, where there is a compiler."""
    folder = tmp_path_factory.mktemp("classes")
    if shutil.which("javac"):
        subprocess.run(["javac", "-d", str(folder), str(EXAMPLES / "Integrate.java")], check=True)
    return folder


@pytest.fixture(params=COMMANDS)
def example(request: pytest.FixtureRequest, live_server: LiveServer, tmp_path: Path, classes: Path) -> Example:
    for program in (COMMANDS[request.param][0], *NEEDS.get(request.param, ())):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")
    enroll, call, stranger = (
        decode((SAMPLES / f"{name}.ogg").read_bytes()) for name in ("enroll", "verify", "stranger")
    )
    noise = np.random.default_rng(1).normal(0, 0.2, len(call.samples)).astype(np.float32)
    recordings = {f"{number}.wav": part for number, part in enumerate(np.array_split(enroll.samples, 3))}
    recordings |= {"call.wav": call.samples, "stranger.wav": stranger.samples, "noisy.wav": call.samples / 2 + noise}
    for name, samples in recordings.items():
        (tmp_path / name).write_bytes(wav(samples, call.sample_rate))
    (tmp_path / "call.ulaw").write_bytes(encode(call.samples, "mulaw", source_rate=call.sample_rate))
    return Example(request.param, live_server.url, tmp_path, classes)


def test_a_customer_is_enrolled_and_calls_are_decided(
    example: Example, shipped_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_client, "call", StandInWorker().call)
    (example.folder / "short.wav").write_bytes(wav(np.zeros(16_000, np.float32)))

    said = example.run("enroll", "C-1001", "short.wav", "0.wav", "1.wav", "2.wav")
    assert said[0].startswith("short.wav: record it again: silent_audio: ")
    assert re.fullmatch(r"0\.wav: ENROLLING, [0-9.]+ s of speech are missing", said[1])
    assert re.fullmatch(r"2\.wav: ENROLLED, 0(\.0)? s of speech are missing", said[3])
    assert Customer.objects.get().state == "ENROLLED"
    assert example.run("enroll", "C-1001") == []  # what is there already does no harm

    said = example.run("verify", "C-1001", "call.ulaw", "mulaw")
    assert said == ["ACCEPT. Next: a further factor", f"Decision {Decision.objects.latest('created_at').pk}"]
    assert example.run("verify", "C-1001", "stranger.wav")[0] == "REJECT. Next: another_factor"
    assert (
        example.run("verify", "C-1001", "noisy.wav")[0] == "INCONCLUSIVE TOO_NOISY. Next: ask the caller to speak again"
    )
    said = example.run("verify", "C-1001", "call.wav")  # it was accepted before
    assert said[:2] == ["REJECT REPLAY. Next: another_factor", "High risk of fraud: REPLAY"]


def test_while_nobody_answers_the_ivr_takes_another_factor(example: Example, settings: Settings) -> None:
    activate_model()
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = 0.3
    said = example.run("verify", "C-1001", "call.wav")
    assert said == ["scoring_unavailable: nothing was decided. Next: another factor"]
    assert not Decision.objects.exists()
    example.environment["VOICEAUTH_URL"] = "http://127.0.0.1:9"
    assert example.run("verify", "C-1001", "call.wav") == ["unreachable: nothing was decided. Next: another factor"]
