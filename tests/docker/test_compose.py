"""The compose file as far as it can be checked without an engine."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from voiceauth.launcher import embedded

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "compose.yaml").read_text()
# What compose itself does before it reads the file: ${NAME:-default}, with nothing set.
COMPOSE: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def test_the_file_follows_the_compose_specification() -> None:
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()


def test_a_misspelt_key_would_be_noticed() -> None:
    with pytest.raises(ValueError, match="helthcheck"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(COMPOSE).replace("healthcheck", "helthcheck"))


def test_every_part_has_a_service_and_a_health_check() -> None:
    assert set(SERVICES) >= {"web", "scoring", "training", "beat", "postgres", "redis", "migrate", "bootstrap"}
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["migrate", "bootstrap"]


def test_no_service_is_privileged_or_keeps_capabilities_or_runs_as_root() -> None:
    for name, service in OURS.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not {"privileged", "user", "cap_add", "network_mode", "pid"} & set(service), name
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_only_the_web_server_is_published_and_only_on_loopback() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert SERVICES["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_no_secret_is_written_into_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD(?!S)|SECRET|TOKEN|URL", name):
                assert name.endswith("_FILE"), name
                assert str(value).startswith("/run/secrets/"), name


def test_the_database_logs_as_little_as_the_embedded_one() -> None:
    options = [word.removeprefix("-c").partition("=") for word in SERVICES["postgres"]["command"][1:]]
    assert {name: value for name, _, value in options} == embedded.PRIVATE_LOG


def test_each_secret_is_made_by_the_script_that_the_file_names(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((ROOT / "docker" / "make-secrets").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == set(made)
    assert made["postgres_password"] in made["database_url"]
    assert made["redis_password"] in made["redis_url"]
    assert len({made["secret_key"], made["master_key"], made["postgres_password"], made["redis_password"]}) == 4
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    again = subprocess.run(["bash", script], capture_output=True, check=False)
    assert again.returncode != 0
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_every_variable_of_our_services_is_one_that_the_code_reads() -> None:
    documented = (ROOT / "docs" / "operations.md").read_text()
    for service in OURS.values():
        for name in service["environment"]:
            assert f"`{name.removesuffix('_FILE')}`" in documented, name


def test_only_training_and_the_first_installation_write_models() -> None:
    for name, service in OURS.items():
        for volume in service.get("volumes", []):
            if volume.startswith("models:"):
                assert volume.endswith(":ro") == (name not in ("training", "training-gpu", "bootstrap")), name


def test_volumes_lie_in_folders_that_the_image_gives_to_its_user() -> None:
    made = re.search(r"install -d -m 0700 -o voiceauth[^&]*?(/var[^&]+)\n\n", DOCKERFILE)
    assert made is not None
    folders = made.group(1).replace("\\", " ").split()
    for service in OURS.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[1] in folders


@pytest.fixture(scope="module")
def container_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the web service's container sees, with its secrets in a folder here. Its servers do not exist."""
    folder = tmp_path_factory.mktemp("docker")
    script = folder / "make-secrets"
    script.write_bytes((ROOT / "docker" / "make-secrets").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True)
    given = {name: "" if value is None else str(value) for name, value in SERVICES["web"]["environment"].items()}
    given = {name: value.replace("/run/secrets", str(folder / "secrets")) for name, value in given.items()}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | given | {"VOICEAUTH_STATE_DIR": str(folder / "state"), "VOICEAUTH_TLS": "true"}


def test_django_accepts_the_containers_environment_for_deployment(container_environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "ERROR"],
        cwd=ROOT, env=container_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("migrate", "bootstrap")])
def test_a_services_command_becomes_its_part(name: str, container_environment: dict[str, str]) -> None:
    """The command is run up to the point where it becomes the web server or Celery, which then print their help."""
    assert SERVICES[name]["command"][:3] == ["python", "-m", "voiceauth.launcher.parts"]
    part = SERVICES[name]["command"][3]
    code = (
        "import os, sys; from voiceauth.launcher import parts\n"
        "become = os.execve\n"
        "os.execve = lambda path, command, env: become(path, [*command, '--help'], env)\n"
        f"parts.main([{part!r}])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=container_environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout.lower()


@pytest.mark.parametrize("name", ["migrate", "bootstrap"])
def test_a_command_that_runs_once_exists(name: str, container_environment: dict[str, str]) -> None:
    command = [sys.executable, *SERVICES[name]["command"][1:], "--help"]
    subprocess.run(command, cwd=ROOT, env=container_environment, check=True, capture_output=True)


def test_the_commands_at_the_top_name_what_exists() -> None:
    commands = [line.removeprefix("# ").split() for line in TEXT.splitlines() if line.startswith("# docker")]
    assert (ROOT / commands[0][0]).is_file()
    ran = [words[words.index("--rm") + 1 :] for words in commands if "run" in words]
    assert [words[0] for words in ran] == ["bootstrap"]
    assert ran[0][1] == "#"  # the service's own command, with its own volumes
    assert SERVICES["bootstrap"]["profiles"]  # so that "up" does not run it


def test_what_the_image_copies_exists_and_reaches_the_build() -> None:
    allowed = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in allowed
