"""Master keys of every kind, and what is wrapped under them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from tests.support import transit
from voiceauth.platform import checks, vault
from voiceauth.platform.vault import keyring
from voiceauth.platform.vault.providers import EnvironmentKeys, FileKeys, NotRenewable

OLD, NEW = "o" * 32, "n" * 32


@pytest.fixture(autouse=True)
def nothing_configured(settings: Settings, tmp_path: Path) -> Any:
    settings.VOICEAUTH_MASTER_KEY, settings.VOICEAUTH_MASTER_KEYS = "", []
    settings.VOICEAUTH_MASTER_KEYS_DIR = tmp_path / "keys"
    settings.VOICEAUTH_TRANSIT_URL, settings.VOICEAUTH_TRANSIT_TOKEN = "", transit.TOKEN
    settings.VOICEAUTH_TRANSIT_KEY = "voiceauth"
    return settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[transit.Engine]:
    with transit.running() as engine:
        settings.VOICEAUTH_TRANSIT_URL = engine.url
        yield engine


def test_the_first_start_makes_a_master_key_that_only_we_may_read(tmp_path: Path) -> None:
    wrapped = vault.new_data_key("customer:1")
    assert len(vault.open_data_key(wrapped, "customer:1")) == 32
    (made,) = (tmp_path / "keys").iterdir()
    assert made.stat().st_mode & 0o077 == 0 and (tmp_path / "keys").stat().st_mode & 0o077 == 0


def test_a_wrapped_key_says_which_master_key_opens_it_and_is_bound_to_its_row(settings: Settings) -> None:
    settings.VOICEAUTH_MASTER_KEYS = [f"2026:{OLD}"]
    wrapped = vault.new_data_key("customer:1")
    assert wrapped.startswith(keyring.prefix_of("2026"))
    with pytest.raises(vault.Unsealable):
        vault.open_data_key(wrapped, "customer:2")


def test_several_master_keys_from_the_environment_all_open_and_the_first_wraps(settings: Settings) -> None:
    settings.VOICEAUTH_MASTER_KEY = OLD
    before = vault.new_data_key("customer:1")
    settings.VOICEAUTH_MASTER_KEYS = [f"2027:{NEW}"]
    assert keyring.current_id() == "2027"
    assert len(vault.open_data_key(before, "customer:1")) == 32
    after = vault.new_data_key("customer:1")
    settings.VOICEAUTH_MASTER_KEY = ""
    assert len(vault.open_data_key(after, "customer:1")) == 32
    with pytest.raises(vault.UnknownMasterKey):
        vault.open_data_key(before, "customer:1")


def test_another_secret_under_a_known_id_opens_nothing(settings: Settings) -> None:
    settings.VOICEAUTH_MASTER_KEYS = [f"2026:{OLD}"]
    wrapped = vault.new_data_key("customer:1")
    settings.VOICEAUTH_MASTER_KEYS = [f"2026:{NEW}"]
    with pytest.raises(vault.Unsealable):
        vault.open_data_key(wrapped, "customer:1")


@pytest.mark.parametrize("listed", [["2026:short"], ["no id, " + OLD], [f"a:{OLD}", f"a:{NEW}"]])
def test_junk_among_the_master_keys_is_refused_at_the_start(settings: Settings, listed: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured):
        EnvironmentKeys("", listed)
    settings.VOICEAUTH_MASTER_KEYS = listed
    assert [each.id for each in checks.master_keys_and_storage(None)] == ["voiceauth.E006"]


def test_a_new_key_file_is_current_at_once_and_a_removed_one_opens_nothing(tmp_path: Path) -> None:
    files = FileKeys(tmp_path / "keys")
    before = vault.new_data_key("customer:1")
    made = files.renew()
    assert keyring.current_id() == made != files.known_ids()[0]
    after = vault.new_data_key("customer:1")
    assert vault.open_data_key(before, "customer:1") != vault.open_data_key(after, "customer:1")
    (tmp_path / "keys" / files.known_ids()[0]).unlink()
    assert len(vault.open_data_key(after, "customer:1")) == 32
    with pytest.raises(vault.UnknownMasterKey):
        vault.open_data_key(before, "customer:1")


def test_key_files_are_read_again_only_where_one_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = vault.new_data_key("customer:1")
    read: list[str] = []
    as_ever = Path.read_text

    def noted(path: Path, **how: Any) -> str:
        read.append(path.name)
        return as_ever(path, **how)

    monkeypatch.setattr(Path, "read_text", noted)
    for _ in range(3):
        vault.open_data_key(wrapped, "customer:1")
    assert read == []  # they were read when the key was wrapped
    (name,) = FileKeys(tmp_path / "keys").known_ids()
    (tmp_path / "keys" / name).write_text("another secret of more than thirty-two characters")
    with pytest.raises(vault.Unsealable):
        vault.open_data_key(wrapped, "customer:1")
    assert read == [name]


def test_the_service_cannot_renew_a_key_from_the_environment() -> None:
    with pytest.raises(NotRenewable):
        EnvironmentKeys(OLD, []).renew()


def test_a_key_management_service_wraps_and_opens_in_the_rows_context(engine: transit.Engine) -> None:
    wrapped = vault.new_data_key("customer:1")
    assert wrapped.startswith(keyring.prefix_of("transit:voiceauth:v1"))
    assert len(vault.open_data_key(wrapped, "customer:1")) == 32
    with pytest.raises(vault.Unsealable):
        vault.open_data_key(wrapped, "customer:2")


def test_the_key_management_service_is_asked_once_for_a_key_that_is_used_often(engine: transit.Engine) -> None:
    wrapped = vault.new_data_key("customer:1")
    assert len({vault.open_data_key(wrapped, "customer:1") for _ in range(5)}) == 1
    assert engine.calls.count("POST decrypt/voiceauth") == 1


def test_a_rotation_in_the_key_management_service_makes_a_version_that_wraps(engine: transit.Engine) -> None:
    before = vault.new_data_key("customer:1")
    assert keyring.providers()[0].renew() == keyring.current_id() == "transit:voiceauth:v2"
    assert keyring.providers()[0].known_ids() == ["transit:voiceauth:v1", "transit:voiceauth:v2"]
    assert len(vault.open_data_key(before, "customer:1")) == 32
    engine.oldest = 2
    keyring._transit.cache_clear()  # a process that has not opened it yet
    with pytest.raises(vault.Unsealable):
        vault.open_data_key(before, "customer:1")


def test_a_key_wrapped_by_the_environments_key_opens_after_the_move_to_a_key_management_service(
    settings: Settings, engine: transit.Engine
) -> None:
    settings.VOICEAUTH_TRANSIT_URL, settings.VOICEAUTH_MASTER_KEY = "", OLD
    before = vault.new_data_key("customer:1")
    settings.VOICEAUTH_TRANSIT_URL = engine.url
    assert len(vault.open_data_key(before, "customer:1")) == 32
    assert keyring.current_id() == "transit:voiceauth:v1"


@pytest.mark.parametrize(("token", "url"), [("another token", None), (transit.TOKEN, "http://127.0.0.1:1/v1/transit")])
def test_a_key_management_service_that_refuses_or_is_away_is_reported_as_unavailable(
    settings: Settings, engine: transit.Engine, token: str, url: str | None
) -> None:
    settings.VOICEAUTH_TRANSIT_TOKEN, settings.VOICEAUTH_TRANSIT_URL = token, url or engine.url
    with pytest.raises(vault.KeysUnavailable) as caught:
        vault.new_data_key("customer:1")
    assert caught.value.status == 503 and transit.TOKEN not in str(caught.value)
