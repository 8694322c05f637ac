"""Guessing passwords is slow: five a name and address, then a pause, whichever process is asked; and by address."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support.people import PASSWORD
from tests.support.workers import database_url
from voiceauth.platform.api import throttling
from voiceauth.platform.audit.models import AuditEvent

# Another web process: no memory of the guesses, the same database.
OTHER_PROCESS = """
import django; django.setup()
from django.test import Client
print(Client().post("/admin/login/", {"username": "rita", "password": %r}, SERVER_NAME="localhost").status_code)
"""


def sign_in(password: str, username: str = "rita", **extra: Any) -> int:
    return Client().post("/admin/login/", {"username": username, "password": password}, **extra).status_code


@pytest.mark.django_db(transaction=True)
def test_after_five_wrong_passwords_every_process_refuses_even_the_right_one(people: dict[str, User]) -> None:
    assert sign_in(PASSWORD) == 302
    assert [sign_in("wrong") for _ in range(5)] == [200] * 4 + [429]
    assert sign_in(PASSWORD) == 429
    environment = os.environ | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "voiceauth.settings"}
    other = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS % PASSWORD],
        env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert other.stdout.strip() == "429", other.stderr
    assert sign_in(PASSWORD, REMOTE_ADDR="198.51.100.8") == 302  # not a way to lock somebody out from elsewhere


def test_a_caller_behind_the_proxy_is_told_from_others(people: dict[str, User], settings: Settings) -> None:
    settings.VOICEAUTH_TRUSTED_PROXIES = 1
    for _ in range(5):
        sign_in("wrong", HTTP_X_FORWARDED_FOR="198.51.100.7")
    assert sign_in(PASSWORD, HTTP_X_FORWARDED_FOR="198.51.100.7") == 429
    assert sign_in(PASSWORD, HTTP_X_FORWARDED_FOR="198.51.100.8") == 302


def test_guesses_over_many_names_are_throttled_by_address_with_one_event(people: Any, settings: Settings) -> None:
    settings.VOICEAUTH_RATE_LIMITS = settings.VOICEAUTH_RATE_LIMITS | {"anonymous": 3}
    address = "198.51.100.10"
    throttling.connection().delete(f"rate:anonymous:{address}", f"rate-refused:anonymous:{address}")
    assert [sign_in("wrong", f"name-{number}", REMOTE_ADDR=address) for number in range(6)] == [200] * 3 + [429] * 3
    assert AuditEvent.objects.filter(action="request.refused", ip_address=address).count() == 1
