"""``manage.py serve``: the real service in a state folder of its own."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml

from tests.support import every_endpoint
from tests.support.audio import voice, wav
from tests.support.waiting import until
from voiceauth.launcher import embedded

ROOT = Path(__file__).resolve().parents[2]


class Service:
    """One ``serve`` after the other in one state folder, at one port."""

    def __init__(self, state: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.bind = f"127.0.0.1:{probe.getsockname()[1]}"
        self.state = state
        without = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
        self.environment = {name: value for name, value in os.environ.items() if name not in without}
        self.environment |= {"VOICEAUTH_STATE_DIR": str(state), "VOICEAUTH_BIND": self.bind}
        self.environment |= {"VOICEAUTH_SCORING_PROCESSES": "1"}
        self.environment |= {"PYTHONPATH": str(ROOT / "tests" / "launcher" / "writes")}
        self.environment |= {"VOICEAUTH_TEST_WRITES": str(state / "writes")}
        self.said = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.family: list[psutil.Process] = []

    def start(self) -> None:
        with open(self.state / "said", "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"], cwd=ROOT, env=self.environment, stdout=said, stderr=said
            )
        until(lambda: self.is_ready() or self.has_ended(), seconds=120)
        assert not self.has_ended(), self.output()
        self.family += psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.family += psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def parts(self) -> list[psutil.Process]:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    def part(self, words: str) -> psutil.Process:
        return next(child for child in self.parts() if words in " ".join(child.cmdline()))

    def postmaster(self) -> int | None:
        try:
            return int((self.state / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def send(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        host, port = self.bind.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def send_raw(self, content: bytes) -> bytes:
        """The first bytes of the answer to what need not be HTTP."""
        host, port = self.bind.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(content)
            return connection.recv(1024)

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.bind}/readyz", timeout=5).close()
        except (OSError, urllib.error.URLError):
            return False
        return True

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def output(self) -> str:
        return (self.state / "said").read_text()

    def survivors(self) -> list[str]:
        """The command lines of the processes that were ever part of the service and still live."""
        return [" ".join(process.cmdline()) for process in psutil.wait_procs(self.family, timeout=20)[1]]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="voiceauth-test-") as folder:
        running = Service(Path(folder))
        running.start()
        yield running
        if not running.has_ended():
            running.stop(signal.SIGINT)
        for process in psutil.wait_procs(running.family, timeout=1)[1]:
            process.kill()


def test_the_first_start_shows_a_login_and_four_tokens_and_keeps_them_nowhere(service: Service) -> None:
    tokens = re.findall(r"va_(?:teller|ivr|reviewer|admin)_\S+", service.output())
    password = re.search(r"admin / (\S+)", service.output())
    assert len(tokens) == 4
    exports = dict(re.findall(r"^export (\w+)=(\S+)$", service.output(), re.MULTILINE))
    assert set(exports) == {"TELLER_TOKEN", "IVR_TOKEN", "REVIEWER_TOKEN", "ADMIN_TOKEN"}
    assert (
        service.send("GET", "/api/v1/customers", headers={"Authorization": f"Bearer {exports['TELLER_TOKEN']}"})[0]
        == 200
    )
    assert password is not None
    for path in [*(service.state / "log").iterdir(), *(service.state / "run").glob("*.url")]:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in [*tokens, password.group(1)]), path


MARKER = "zq-marker-4711"  # a customer's id, a name, and any other text that a caller sends


def test_no_log_holds_what_a_caller_sent_whatever_goes_wrong(service: Service) -> None:
    by_role = {role: token for token, role in re.findall(r"(va_([a-z]+)_\S+)", service.output())}
    accept = {"Accept": "application/vnd.oai.openapi+json"}
    document = json.loads(service.send("GET", "/api/schema", headers=accept)[1])
    audio = wav(voice(1, seconds=2.0, sample_rate=8000), 8000)
    statuses = set()
    for call in every_endpoint.calls(document, marker=MARKER, audio=audio):
        kind, body = call.body()
        for token in [*[by_role[role] for role in call.roles if role in by_role][:1], "", by_role["ivr"]]:
            headers = {"Content-Type": kind, "Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
            statuses.add(service.send(call.method, call.path, body=body, headers=headers)[0])
        statuses.add(service.send("PATCH", call.path, headers=headers)[0])
    for path in (f"/{MARKER}", f"/admin/{MARKER}", f"/api/v1/{MARKER}", f"/api/v1/customers/{MARKER}/{MARKER}"):
        statuses.add(service.send("GET", path)[0])
    for headers in (
        {"Host": f"{MARKER}.example"},
        {"Referer": f"https://{MARKER}.example", "Origin": f"https://{MARKER}"},
    ):
        statuses.add(service.send("POST", f"/admin/login/?next={MARKER}", headers=headers)[0])
    service.send_raw(f"GET /api/v1/customers/{MARKER}/ \x00 HTTP/1.1 {MARKER}\r\n\r\n".encode())
    service.send_raw(f"GET / HTTP/1.1\r\nBad{MARKER} Header: {MARKER}\r\n\r\n".encode())
    assert {200, 201, 202, 400, 401, 403, 404, 405, 409} <= statuses

    database = embedded.PostgreSQL(service.state).url
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT * FROM enrollment_customer WHERE customer_id = %s", [MARKER]).fetchone()
        assert row is not None
        assert MARKER in row
        for statement in (
            "INSERT INTO enrollment_customer SELECT * FROM enrollment_customer WHERE customer_id = %s",
            "UPDATE enrollment_customer SET state = NULL WHERE customer_id = %s",
            "SELECT %s::uuid",
            "SELECT * FROM nowhere WHERE name = %s",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, [MARKER])

    logs = {path.name: path.read_text(errors="replace") for path in (service.state / "log").iterdir()}
    assert {"web.log", "scoring.log", "training.log", "beat.log", "redis.log", "postgres.log"} <= set(logs)
    assert "/api/v1/customers/<customer_id:customer_id>" in logs["web.log"]  # so refusals are logged, by their route
    said = [f"{name}: {line}" for name, text in logs.items() for line in text.splitlines() if MARKER in line]
    assert said == []
    assert "Traceback" not in logs["web.log"]
    assert {path.stat().st_mode & 0o777 for path in (service.state / "log").iterdir()} == {0o600}


def test_every_folder_that_a_part_writes_to_is_a_volume_of_its_container(service: Service) -> None:
    """After the test before, which made every request."""
    written: dict[str, set[str]] = {}
    for line in (service.state / "writes").read_text().splitlines():
        part, folder = line.split()
        written.setdefault(part, set()).add(folder)
    services = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker" / "compose.yaml").read_text()))[
        "services"
    ]

    def volumes(name: str) -> set[str]:
        mounts = [volume.split(":") for volume in services[name].get("volumes", [])]
        return {mount[1].rsplit("/", 1)[1] for mount in mounts if mount[2:] != ["ro"]}

    # Containers get their secrets as files, and their servers are services of their own.
    apart = {"secrets", "run", "log", "postgres", "postgres.new", "redis"}
    assert "audio" in written["web"]
    for part in ("web", "scoring", "training", "beat"):
        assert written.get(part, set()) - (apart - {"run"}) <= volumes(part), part
    assert "models" in written["launcher"]
    assert written["launcher"] - apart <= volumes("bootstrap")


def test_a_second_service_in_the_same_state_folder_is_refused(service: Service) -> None:
    second = service.command("serve")
    assert second.returncode != 0
    assert "runs already" in second.stderr
    assert service.is_ready()


def test_a_taken_port_is_refused_by_the_name_of_the_setting(service: Service) -> None:
    with tempfile.TemporaryDirectory(prefix="voiceauth-test-") as folder:
        unused = "postgres://nobody@127.0.0.1:9/none"  # or an embedded server would be made first
        environment = service.environment | {"VOICEAUTH_STATE_DIR": folder, "DATABASE_URL": unused}
        other = subprocess.run(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert other.returncode != 0
    assert "VOICEAUTH_BIND" in other.stderr


def test_the_queues_password_is_in_no_process_list(service: Service) -> None:
    password = (service.state / "run" / "redis.url").read_text().split("@")[0].rsplit(":", 1)[1]
    assert service.process is not None
    assert len(password) > 30
    for child in psutil.Process(service.process.pid).children(recursive=True):
        assert password not in " ".join(child.cmdline())
    assert (service.state / "run" / "redis.url").stat().st_mode & 0o077 == 0


def test_a_command_comes_and_goes_while_the_service_runs(service: Service) -> None:
    before = service.postmaster()
    assert service.command("migrate", "--check").returncode == 0
    assert service.postmaster() == before
    assert service.is_ready()


def test_the_web_server_loads_no_torch(service: Service) -> None:
    web = service.part("voiceauth.launcher.web")
    for process in [web, *web.children()]:
        maps = " ".join(each.path for each in process.memory_maps())
        assert "torch" not in maps
        assert "onnxruntime" not in maps


@pytest.mark.parametrize(
    ("name", "words"), [("redis", "redis-server"), ("scoring", "scoring@"), ("web", "voiceauth.launcher.web")]
)
def test_a_part_that_is_killed_comes_back(service: Service, name: str, words: str) -> None:
    service.part(words).kill()
    until(lambda: f"{name} ended with signal SIGKILL" in service.output())
    until(lambda: any(words in " ".join(child.cmdline()) for child in service.parts()))
    until(service.is_ready, seconds=60)


def test_a_killed_postgresql_comes_back(service: Service) -> None:
    before = service.postmaster()
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: service.postmaster() not in (None, before))
    until(lambda: "PostgreSQL runs again" in service.output())
    until(service.is_ready, seconds=60)


def test_after_kill_9_no_part_is_left_and_the_next_start_copes(service: Service) -> None:
    service.stop(signal.SIGKILL)
    if sys.platform == "linux":
        assert service.survivors() == []
    service.start()
    assert "Shown this once" not in service.output()


def test_ctrl_c_leaves_no_process(service: Service) -> None:
    """SIGTERM does the same: see ``test_supervisor.py``."""
    postmaster = service.postmaster()
    assert postmaster is not None
    database = psutil.Process(postmaster)
    assert service.stop(signal.SIGINT) == 0
    assert service.survivors() == []
    assert not database.is_running() or database.status() == psutil.STATUS_ZOMBIE
    assert not (service.state / "run" / "redis.url").exists()
