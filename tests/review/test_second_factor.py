"""The second factor of staff: set up, asked for, required by the policy, reset, and slow to guess."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from pytest_django import Settings

from tests.support.people import PASSWORD, SignIn, hashed
from voiceauth.platform.api import throttling
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies.services import change
from voiceauth.review.sign_in import services, sessions
from voiceauth.review.sign_in.models import RecoveryCode, SecondFactor

pytestmark = pytest.mark.django_db
LOGIN, CODE, SET_UP, OWN = (
    "/admin/login/",
    "/admin/second-factor/code/",
    "/admin/second-factor/set-up/",
    "/admin/second-factor/",
)


class Clock:
    """The time that codes are made and checked at."""

    now = 1_800_000_000.0

    @classmethod
    def time(cls) -> float:
        return cls.now


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", 1_800_000_000.0)
    for module in (services, sessions):
        monkeypatch.setattr(module, "time", Clock)
    throttling.connection().delete("rate:anonymous:127.0.0.1", "rate-refused:anonymous:127.0.0.1")


def code_of(factor_id: Any) -> str:
    """What the app shows next: never a code that was used already."""
    Clock.now += 30
    app = TOTP(services._key_of(factor_id))
    app.time = Clock.now
    return f"{app.token():06d}"


def password(client: Client, username: str = "rita", **extra: Any) -> Any:
    return client.post(LOGIN, {"username": username, "password": PASSWORD, "next": "/admin/audit/auditevent/"}, **extra)


def equip(user: User) -> list[str]:
    """Give the person a second factor, and return its recovery codes."""
    factor_id = uuid.uuid4()
    return services.set_up(user=user, factor_id=factor_id, code=code_of(factor_id), actor=SYSTEM)


def require(*roles: str) -> None:
    change(content={"sign_in": {"second_factor_for": list(roles)}}, reason="x", based_on=0, actor=SYSTEM)


def wrong(user: User) -> str:
    """Six digits that are no code of now."""
    valid = {code_of(user.second_factor.pk) for _ in range(4)}
    return next(f"{number:06d}" for number in range(9) if f"{number:06d}" not in valid)


def enters(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def events(prefix: str = "second_factor.") -> list[str]:
    return list(AuditEvent.objects.filter(action__startswith=prefix).order_by("pk").values_list("action", flat=True))


def test_who_sets_one_up_signs_in_with_password_and_code_from_then_on(people: dict[str, User]) -> None:
    client = Client()
    assert password(client).url == "/admin/audit/auditevent/"
    page = client.get(SET_UP).content.decode()
    assert '<svg role="img"' in page and not re.search(r"<svg[^>]* style=", page)
    secret = re.search(r'va-token">([A-Z2-7 ]+)<', page)
    assert secret is not None and client.get(SET_UP).content.decode().count(secret.group(1)) == 1  # the same again
    factor_id = client.session["second_factor_offered"]
    assert secret.group(1).replace(" ", "") == services.secret_of(factor_id)
    answer = client.post(SET_UP, {"code": code_of(factor_id)})
    codes = re.findall(r"<code>([a-z2-7-]{19})</code>", answer.content.decode())
    assert len(set(codes)) == 10 and answer["Cache-Control"].count("no-store") == 1
    assert enters(client)  # this session goes on

    other = Client()
    assert password(other).url == CODE
    assert not enters(other) and "_auth_user_id" not in other.session  # the password alone signs nobody in
    assert other.post(CODE, {"code": code_of(factor_id)})["Location"] == "/admin/audit/auditevent/"
    assert enters(other)
    assert events() == ["second_factor.set_up"]
    last = AuditEvent.objects.filter(action="session.signed_in").order_by("pk").last()
    assert last is not None and last.data == {"with": "password and second factor"}


def test_setting_it_up_ends_the_other_sessions_of_the_person(people: dict[str, User]) -> None:
    before = Client()
    password(before)
    assert enters(before)
    equip(people["reviewer"])
    assert not enters(before)
    before.get(LOGIN)
    assert "_auth_user_id" not in before.session


def test_a_code_counts_once_and_a_code_of_another_time_not_at_all(people: dict[str, User]) -> None:
    equip(people["reviewer"])
    factor = people["reviewer"].second_factor
    first, second = Client(), Client()
    password(first), password(second)
    code = code_of(factor.pk)
    assert first.post(CODE, {"code": code}).status_code == 302
    assert "This code is wrong or was used before" in second.post(CODE, {"code": code}).content.decode()
    late = code_of(factor.pk)
    Clock.now += 90
    assert second.post(CODE, {"code": late}).status_code == 200
    assert not enters(second)


def test_a_recovery_code_replaces_the_app_once(people: dict[str, User]) -> None:
    codes = equip(people["reviewer"])
    client, again = Client(), Client()
    password(client), password(again)
    assert client.post(CODE, {"code": codes[0].upper().replace("-", " ")}).status_code == 302
    assert again.post(CODE, {"code": codes[0]}).status_code == 200
    assert not enters(again)
    event = AuditEvent.objects.get(action="second_factor.recovery_code_used")
    assert (event.actor, event.role, event.data) == ("user:rita", "reviewer", {"left": 9})


def test_neither_the_secret_nor_a_recovery_code_is_in_the_database(people: dict[str, User]) -> None:
    codes = equip(people["reviewer"])
    factor = SecondFactor.objects.get()
    kept = str(list(SecondFactor.objects.values())) + str(list(RecoveryCode.objects.values()))
    kept += str(list(AuditEvent.objects.values()))
    assert services.secret_of(factor.pk) not in kept and services._key_of(factor.pk).hex() not in kept
    assert not any(code in kept or code.replace("-", "") in kept for code in codes)


def test_wrong_codes_and_wrong_passwords_are_counted_together(people: dict[str, User]) -> None:
    equip(people["reviewer"])
    client, bad = Client(), wrong(people["reviewer"])
    client.post(LOGIN, {"username": "rita", "password": "wrong"})
    client.post(LOGIN, {"username": "rita", "password": "wrong"})
    password(client)
    assert [client.post(CODE, {"code": bad}).status_code for _ in range(3)] == [200, 200, 429]
    good = code_of(people["reviewer"].second_factor.pk)
    assert client.post(CODE, {"code": good}).status_code == 429
    assert password(Client()).status_code == 429
    refused = AuditEvent.objects.filter(action="session.sign_in_refused").order_by("pk")
    assert [event.data["factor"] for event in refused] == ["password"] * 2 + ["second"] * 3 + ["password"]


def test_guesses_from_many_addresses_are_delayed_longer_and_longer(people: dict[str, User]) -> None:
    equip(people["reviewer"])
    factor, bad = SecondFactor.objects.get(), wrong(people["reviewer"])
    for number in range(5):
        client = Client()
        password(client, REMOTE_ADDR=f"198.51.100.{number}")
        assert client.post(CODE, {"code": bad}, REMOTE_ADDR=f"198.51.100.{number}").status_code == 200
    client = Client()
    password(client, REMOTE_ADDR="203.0.113.1")
    answer = client.post(CODE, {"code": code_of(factor.pk)}, REMOTE_ADDR="203.0.113.1")
    assert "Too many wrong codes were entered" in answer.content.decode()
    factor.refresh_from_db()
    assert factor.failures == 5 and factor.blocked_until is not None
    assert timedelta(seconds=20) < factor.blocked_until - timezone.now() <= timedelta(seconds=30)
    waits = [services._blocked_until(failures) - timezone.now() for failures in (6, 9, 100)]
    assert [round(wait.total_seconds() / 60) for wait in waits] == [1, 8, 60]
    SecondFactor.objects.update(blocked_until=timezone.now())
    assert client.post(CODE, {"code": code_of(factor.pk)}, REMOTE_ADDR="203.0.113.1").status_code == 302
    factor.refresh_from_db()
    assert (factor.failures, factor.blocked_until) == (0, None)


def test_codes_are_throttled_by_address(people: dict[str, User], settings: Settings) -> None:
    equip(people["reviewer"])
    client = Client()
    password(client)
    settings.VOICEAUTH_RATE_LIMITS = settings.VOICEAUTH_RATE_LIMITS | {"anonymous": 1}
    throttling.connection().delete("rate:anonymous:127.0.0.1", "rate-refused:anonymous:127.0.0.1")
    assert [client.post(CODE, {"code": ""}).status_code for _ in range(2)] == [200, 429]


def test_a_role_that_needs_one_sets_it_up_before_it_is_signed_in(people: dict[str, User]) -> None:
    require("reviewer")
    client = Client()
    assert password(client).url == CODE
    assert client.get(CODE)["Location"] == SET_UP
    assert not enters(client)
    assert "Your role needs a second factor" in client.get(SET_UP).content.decode()
    assert client.post(SET_UP, {"code": "000000"}).status_code == 200
    assert not enters(client)
    answer = client.post(SET_UP, {"code": code_of(client.session["second_factor_offered"])})
    assert 'href="/admin/audit/auditevent/"' in answer.content.decode()
    assert enters(client)
    assert AuditEvent.objects.get(action="second_factor.set_up").actor == "user:rita"
    assert password(Client(), "tom").url == "/admin/audit/auditevent/"  # a teller needs none


def test_a_policy_that_comes_to_require_one_ends_the_sessions_that_lack_it(people: dict[str, User]) -> None:
    client = Client()
    password(client)
    assert enters(client)
    require("reviewer")
    assert not enters(client)
    assert password(client).url == CODE


def test_what_the_policy_requires_cannot_be_removed(people: dict[str, User]) -> None:
    require("reviewer")
    client = Client()
    password(client)
    client.get(SET_UP)
    client.post(SET_UP, {"code": code_of(client.session["second_factor_offered"])})
    assert "Remove second factor" not in client.get(OWN).content.decode()
    answer = client.post(f"{OWN}remove/", {"code": code_of(SecondFactor.objects.get().pk)})
    assert "cannot remove yours" in answer.content.decode()
    assert SecondFactor.objects.count() == 1


def test_new_recovery_codes_and_a_removal_take_a_code_again(people: dict[str, User]) -> None:
    old = equip(people["reviewer"])
    factor = SecondFactor.objects.get()
    client = Client()
    password(client)
    client.post(CODE, {"code": code_of(factor.pk)})
    for action in ("recovery-codes", "remove"):
        assert "This code is wrong" in client.post(f"{OWN}{action}/", {"code": "0"}).content.decode()
    answer = client.post(f"{OWN}recovery-codes/", {"code": code_of(factor.pk)}).content.decode()
    new = re.findall(r"<code>([a-z2-7-]{19})</code>", answer)
    assert len(new) == 10 and not set(new) & set(old)
    assert client.post(f"{OWN}remove/", {"code": old[0]}).status_code == 200
    assert client.post(f"{OWN}remove/", {"code": new[0]}, follow=True).status_code == 200
    assert not SecondFactor.objects.exists() and enters(client)
    assert events()[1:] == [
        "second_factor.recovery_codes_renewed",
        "second_factor.recovery_code_used",
        "second_factor.removed",
    ]


def test_an_administrator_resets_it_and_its_sessions_end(people: dict[str, User], signed_in: SignIn) -> None:
    rita = people["reviewer"]
    equip(rita)
    client = Client()
    password(client)
    client.post(CODE, {"code": code_of(SecondFactor.objects.get().pk)})
    page, reset = f"/admin/auth/user/{rita.pk}/change/", f"/admin/auth/user/{rita.pk}/second-factor/reset/"
    assert signed_in("admin").get(reset).status_code == 403  # only a superuser manages accounts
    sue = signed_in("superuser")
    assert reset in sue.get(page).content.decode()
    assert "Reset the second factor of rita" in sue.get(reset).content.decode()
    assert SecondFactor.objects.exists()  # looking changes nothing
    assert "has no second factor any more" in sue.post(reset, follow=True).content.decode()
    assert not enters(client)
    assert password(client).url == "/admin/audit/auditevent/"
    event = AuditEvent.objects.get(action="second_factor.reset")
    assert (event.actor, event.target) == ("user:sue", f"user:{rita.pk}")


def test_the_only_administrator_resets_it_on_the_command_line(people: dict[str, User], capsys: Any) -> None:
    equip(people["superuser"])
    call_command("reset_second_factor", "sue")
    assert capsys.readouterr().out.strip() == "sue has no second factor any more."
    assert AuditEvent.objects.get(action="second_factor.reset").actor == "system"


def test_the_step_after_the_password_is_open_for_ten_minutes_and_one_password(people: dict[str, User]) -> None:
    equip(people["reviewer"])
    factor = SecondFactor.objects.get()
    client = Client()
    assert client.get(CODE)["Location"] == LOGIN  # nobody gave a password
    password(client)
    Clock.now += 601
    assert client.post(CODE, {"code": code_of(factor.pk)})["Location"] == LOGIN
    password(client)
    people["reviewer"].set_password("another password of hers")
    people["reviewer"].save()
    assert client.post(CODE, {"code": code_of(factor.pk)})["Location"] == LOGIN
    assert not enters(client)


def test_a_role_is_enough_to_sign_in(people: dict[str, User]) -> None:
    user = User.objects.create(username="tina", password=hashed())
    assert "Please enter the correct" in password(Client(), "tina").content.decode()
    user.groups.add(Group.objects.get(name="teller"))
    client = Client()
    assert password(client, "tina").status_code == 302
    assert client.get("/admin/enrollment/customer/").status_code == 200
    user.groups.clear()
    assert not enters(client)
