"""A misconfigured service is told so at its start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from voiceauth.platform import checks
from voiceauth.settings import BASE_DIR


def ids(messages: Any) -> set[str]:
    return {message.id for message in messages}


@pytest.fixture(autouse=True)
def sound(settings: Settings) -> Any:
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.SECRET_KEY, settings.VOICEAUTH_MASTER_KEY = "a" * 32, "b" * 32
    settings.VOICEAUTH_TLS, settings.VOICEAUTH_TRUSTED_PROXIES = False, 0
    return settings


def test_a_sound_configuration_passes() -> None:
    assert checks.configuration(None) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"DEBUG": True, "VOICEAUTH_TLS": True, "VOICEAUTH_TRUSTED_PROXIES": 1}, "voiceauth.E001"),
        ({"ALLOWED_HOSTS": ["*"], "VOICEAUTH_TLS": True, "VOICEAUTH_TRUSTED_PROXIES": 1}, "voiceauth.E002"),
        ({"SECRET_KEY": "b" * 32}, "voiceauth.E003"),
        ({"ALLOWED_HOSTS": ["voice.bank.example"]}, "voiceauth.W001"),
        ({"VOICEAUTH_TLS": True}, "voiceauth.W002"),
    ],
)
def test_each_mistake_is_named(settings: Settings, changes: Any, expected: Any) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    assert ids(checks.configuration(None)) == {expected}


def test_secrets_that_others_may_read_are_an_error(settings: Settings, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings.SECRETS_DIR = tmp_path
    secret = tmp_path / "voiceauth_master_key"
    secret.write_text("s")
    secret.chmod(0o600)
    assert checks.secrets_are_private(None) == []
    secret.chmod(0o640)
    assert ids(checks.secrets_are_private(None)) == {"voiceauth.E004"}


def test_a_folder_of_secrets_that_is_not_there_is_no_mistake(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_DIR = tmp_path / "none"
    assert checks.secrets_are_private(None) == []


def test_a_sample_may_not_need_more_speech_than_an_enrollment(settings: Settings) -> None:
    settings.VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS, settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 10, 5
    assert ids(checks.policy(None)) == {"voiceauth.E005"}


def test_the_deployment_check_finds_nothing_behind_tls(tmp_path: Path) -> None:
    """``manage.py check --deploy`` as an operator runs it."""
    environment = os.environ | {
        "VOICEAUTH_STATE_DIR": str(tmp_path),
        "VOICEAUTH_TLS": "true",
        "VOICEAUTH_TRUSTED_PROXIES": "1",
        "VOICEAUTH_ALLOWED_HOSTS": "voice.bank.example",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(
        command, env=environment, cwd=BASE_DIR, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
