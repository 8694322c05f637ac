"""Security headers on what programs and people get."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

HARDENED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.mark.parametrize("path", ["/api/v1/customers", "/api/docs", "/admin/login/", "/healthz", "/nowhere"])
def test_every_answer_carries_the_security_headers(teller: APIClient, path: str) -> None:
    response = teller.get(path)
    assert {name: response[name] for name in HARDENED} == HARDENED
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert "'unsafe-eval'" not in response["Content-Security-Policy"]
    assert "microphone=()" in response["Permissions-Policy"]


@pytest.mark.parametrize("path", ["/api/v1/customers", "/api/v1/customers/ann", "/admin/login/"])
def test_no_cache_keeps_what_may_hold_personal_data(teller: APIClient, path: str) -> None:
    assert "no-store" in teller.get(path)["Cache-Control"]


def test_no_cache_keeps_a_page_of_the_dashboard(client: Any, django_user_model: type[User]) -> None:
    client.force_login(django_user_model.objects.create_superuser("root", password="correct horse battery"))
    for path in ("", "enrollment/customer/", "audit/auditevent/"):
        assert "no-store" in client.get(f"/admin/{path}")["Cache-Control"]
