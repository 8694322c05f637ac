"""Where webhooks may go: nobody reaches the services beside us through one."""

import socket
from ipaddress import ip_network
from typing import Any

import pytest
from pytest_django import Settings

from tests.support.listener import Listener
from voiceauth.platform.webhooks import targets
from voiceauth.platform.webhooks.errors import InvalidWebhookUrl, WebhookTargetRefused


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",  # 127.0.0.1 as one number
        "0x7f.1",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "100.64.0.1",  # carriers
        "169.254.169.254",  # the metadata of cloud machines
        "224.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",  # 10.0.0.1 behind NAT64
        "[2002:7f00:1::]",  # 127.0.0.1 in 6to4
        "[::7f00:1]",
    ],
)
def test_an_internal_address_is_refused_however_it_is_written(host: str, settings: Settings) -> None:
    settings.VOICEAUTH_WEBHOOK_NETWORKS = []
    with pytest.raises(WebhookTargetRefused):
        targets.check(f"https://{host}/hooks")
    with pytest.raises(WebhookTargetRefused):
        targets.post(f"https://{host}/hooks", b"{}", {})


def test_a_public_address_needs_tls(settings: Settings) -> None:
    targets.check("https://93.184.216.34/hooks")
    with pytest.raises(WebhookTargetRefused):
        targets.check("http://93.184.216.34/hooks")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://bank.example/",
        "//bank.example/",
        "https://",
        "https://user:secret@bank.example/",
        "https://bank.example/#part",
        "https://bank.example:0/",
        "https://bank.example:99999/",
        "https://[::1/",
        "https://bank.example/a\nb",
    ],
)
def test_what_is_no_address_for_webhooks_is_refused(url: str) -> None:
    with pytest.raises(InvalidWebhookUrl):
        targets.check(url)


def test_an_allowed_network_is_reached_without_tls_and_its_neighbour_is_not(settings: Settings) -> None:
    settings.VOICEAUTH_WEBHOOK_NETWORKS = [ip_network("127.0.0.1/32")]
    with Listener().running() as listener:
        assert targets.post(listener.url, b"{}", {"content-type": "application/json"}) == 200
        with pytest.raises(WebhookTargetRefused):
            targets.post(listener.url.replace("127.0.0.1", "127.0.0.2"), b"{}", {})
        assert len(listener.received) == 1


def test_a_name_server_that_changes_its_answer_after_the_check_reaches_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer passes the check, every later one is internal."""
    settings.VOICEAUTH_WEBHOOK_NETWORKS = [ip_network("127.0.0.1/32")]
    resolve, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]

    def rebinding(host: str, *args: Any, **options: Any) -> Any:
        if host == "hooks.bank.example":
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with Listener().running() as listener:
        url = listener.url.replace("127.0.0.1", "hooks.bank.example")
        assert targets.post(url, b"{}", {}) == 200
        assert listener.received[0][0]["host"] == f"hooks.bank.example:{listener.port}"
        with pytest.raises(WebhookTargetRefused):
            targets.post(url, b"{}", {})
        assert len(listener.received) == 1


def test_a_mix_of_internal_and_permitted_addresses_uses_the_permitted_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VOICEAUTH_WEBHOOK_NETWORKS = [ip_network("127.0.0.1/32")]
    resolve = socket.getaddrinfo

    def both(host: str, *args: Any, **options: Any) -> Any:
        if host != "hooks.bank.example":
            return resolve(host, *args, **options)
        return [*resolve("127.0.0.2", *args, **options), *resolve("127.0.0.1", *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with Listener().running() as listener:
        assert targets.post(listener.url.replace("127.0.0.1", "hooks.bank.example"), b"{}", {}) == 200
