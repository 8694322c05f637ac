"""The first run loses no secret, whatever fails in the middle of it."""

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from voiceauth.launcher.management.commands import bootstrap
from voiceauth.platform.api.models import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation of the model takes minutes and has tests of its own."""
    monkeypatch.setattr(bootstrap, "install_base_model", lambda: None)


def run() -> str:
    out = StringIO()
    call_command("bootstrap", stdout=out)
    return out.getvalue()


def test_it_shows_lines_that_can_be_pasted_into_a_shell_and_a_login() -> None:
    said = run()
    tokens = dict(re.findall(r"^export (\w+)=(va_\w+_\S+)$", said, re.MULTILINE))
    assert set(tokens) == {"TELLER_TOKEN", "IVR_TOKEN", "REVIEWER_TOKEN", "ADMIN_TOKEN"}
    password = re.search(r"^dashboard login: admin / (\S+)$", said, re.MULTILINE)
    assert password is not None
    assert User.objects.get().check_password(password[1])


def test_a_second_run_shows_nothing_and_changes_nothing() -> None:
    run()
    assert run() == ""
    assert (User.objects.count(), ApiClient.objects.count()) == (1, 4)


def broken(*args: Any) -> None:
    raise OSError("no space left, or nobody reads")


def test_where_the_model_cannot_be_installed_no_secret_is_made_and_the_next_run_shows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(bootstrap, "install_base_model", broken)
        run()
    assert not User.objects.exists()
    assert not ApiClient.objects.exists()
    assert "export TELLER_TOKEN=" in run()


def test_secrets_that_could_not_be_shown_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(OSError, match="nobody reads"):
        patched.setattr(bootstrap.Command, "_show", broken)
        run()
    assert not User.objects.exists()
    assert not ApiClient.objects.exists()
    assert "dashboard login:" in run()
