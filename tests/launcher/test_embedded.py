"""The embedded PostgreSQL: real servers in folders of their own."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.waiting import until
from voiceauth.launcher import embedded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state() -> Iterator[Path]:
    """Not pytest's ``tmp_path``: as root the server runs as another user, and pytest closes its folders to others."""
    with tempfile.TemporaryDirectory(prefix="voiceauth-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster as a first start leaves it, which takes a second."""
    with tempfile.TemporaryDirectory(prefix="voiceauth-test-") as folder:
        made = embedded.PostgreSQL(Path(folder))
        made.join()
        made.leave()
        yield made.data


@pytest.fixture
def new_server(state: Path) -> Iterator[embedded.PostgreSQL]:
    postgres = embedded.PostgreSQL(state)
    yield postgres
    postgres.leave()


@pytest.fixture
def server(new_server: embedded.PostgreSQL, cluster: Path) -> embedded.PostgreSQL:
    """One that was started before."""
    subprocess.run(["cp", "-a", str(cluster), str(new_server.data)], check=True)  # with its owner
    return new_server


def _postmaster(server: embedded.PostgreSQL) -> int:
    return int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])


def _another_process(state: Path) -> "subprocess.Popen[str]":
    """A process that joins the cluster, says so, and leaves when its input ends."""
    code = (
        "import sys, pathlib; from voiceauth.launcher import embedded\n"
        "print(embedded.PostgreSQL(pathlib.Path(sys.argv[1])).join(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(state)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def test_a_first_start_makes_the_database_and_the_next_finds_it_again(new_server: embedded.PostgreSQL) -> None:
    with psycopg.connect(new_server.join()) as connection:
        connection.execute("CREATE TABLE kept (value int)")
    new_server.leave()
    assert not new_server.is_running()
    with psycopg.connect(new_server.join()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_it_listens_on_no_network_address(server: embedded.PostgreSQL) -> None:
    with psycopg.connect(server.join()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    process = psutil.Process(_postmaster(server))
    assert [each for each in process.net_connections(kind="inet") if each.status == psutil.CONN_LISTEN] == []


def test_nobody_else_may_enter_the_sockets_folder(server: embedded.PostgreSQL) -> None:
    server.join()
    assert server.socket_folder.stat().st_mode & 0o077 == 0


def test_a_process_that_comes_and_goes_leaves_the_server_to_the_others(server: embedded.PostgreSQL) -> None:
    server.join()
    first = _postmaster(server)
    guest = _another_process(server.run.parent)
    guest.communicate("")
    assert server.is_running()
    assert _postmaster(server) == first


def test_whoever_leaves_last_stops_it(server: embedded.PostgreSQL) -> None:
    server.join()
    guest = _another_process(server.run.parent)
    server.leave()
    assert server.is_running()
    guest.communicate("")
    assert not server.is_running()


def test_a_killed_process_does_not_count_as_a_user(server: embedded.PostgreSQL) -> None:
    server.join()
    guest = _another_process(server.run.parent)
    guest.kill()
    guest.wait()
    server.leave()
    assert not server.is_running()


def test_a_killed_server_is_started_again_with_its_data(server: embedded.PostgreSQL) -> None:
    with psycopg.connect(server.join()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS value")
    killed = _postmaster(server)
    os.kill(killed, signal.SIGKILL)
    until(lambda: not server.is_running())
    with psycopg.connect(server.join()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    assert _postmaster(server) != killed


def test_a_lock_file_that_names_another_program_is_removed(server: embedded.PostgreSQL) -> None:
    server.join()
    content = (server.data / "postmaster.pid").read_text()
    server.leave()
    lines = content.split("\n", 1)
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{lines[1]}")
    assert not server.is_running()
    assert psycopg.connect(server.join()).execute("SELECT 1").fetchone() == (1,)


def test_an_interrupted_first_start_is_made_anew(new_server: embedded.PostgreSQL) -> None:
    draft = new_server.data.with_name("postgres.new")
    draft.mkdir(parents=True)
    (draft / "half").write_text("a cluster")
    assert psycopg.connect(new_server.join()).execute("SELECT 1").fetchone() == (1,)


def test_a_folder_that_is_too_deep_for_a_socket_works(state: Path) -> None:
    deep = state / ("a deep folder " + "x" * 100)
    server = embedded.PostgreSQL(deep)
    try:
        assert psycopg.connect(server.join()).execute("SELECT 1").fetchone() == (1,)
    finally:
        server.leave()
    assert not server.is_running()


@pytest.mark.parametrize("arguments", [["manage.py"], ["manage.py", "help"], ["manage.py", "migrate", "--help"]])
def test_a_command_that_needs_no_database_starts_none(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("VOICEAUTH_STATE_DIR", str(tmp_path))
    embedded.attach(arguments)
    assert "DATABASE_URL" not in os.environ
    assert not (tmp_path / "postgres").exists()


def test_a_configured_database_is_used_and_no_other_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@elsewhere/name")
    monkeypatch.setenv("VOICEAUTH_STATE_DIR", str(tmp_path))
    embedded.attach(["manage.py", "migrate"])
    assert os.environ["DATABASE_URL"] == "postgresql://user@elsewhere/name"
    assert not (tmp_path / "postgres").exists()


def test_a_running_services_queue_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@elsewhere/name")
    monkeypatch.setenv("VOICEAUTH_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "redis.url").write_text("redis://:secret@127.0.0.1:1/0")
    embedded.attach(["manage.py", "shell"])
    assert os.environ["REDIS_URL"] == "redis://:secret@127.0.0.1:1/0"
