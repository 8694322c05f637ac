"""The OpenAPI document is valid, complete and open; its pages work without another server."""

import re
from io import StringIO
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from voiceauth import __version__


@pytest.fixture(scope="module")
def schema() -> dict:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    return yaml.safe_load(out.getvalue())


def operations(schema: dict) -> dict[tuple[str, str], dict]:
    return {
        (method.upper(), path): operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def test_every_call_of_the_api_is_in_it(schema: dict[str, Any]) -> None:
    calls = set(operations(schema))
    assert {
        ("POST", "/api/v1/customers"),
        ("DELETE", "/api/v1/customers/{customer_id}/consent"),
        ("POST", "/api/v1/customers/{customer_id}/enrollments"),
        ("POST", "/api/v1/verify"),
        ("POST", "/api/v1/identify"),
        ("GET", "/api/v1/decisions/{decision_id}"),
        ("GET", "/api/v1/audit-events"),
        ("POST", "/api/v1/training-runs"),
        ("POST", "/api/v1/models/{version}/promote"),
        ("GET", "/readyz"),
    } <= calls


def test_every_call_says_how_it_refuses(schema: dict[str, Any]) -> None:
    for (method, path), operation in operations(schema).items():
        expected = {"400", "404", "405", "406", "503"}
        if path.startswith("/api/v1/"):
            expected |= {"401", "403", "429"}
        if method in {"POST", "DELETE"}:
            expected |= {"409", "413", "415", "422"}
        assert expected <= set(operation["responses"]), (method, path)


def test_refusals_have_the_one_error_shape(schema: dict[str, Any]) -> None:
    for operation in operations(schema).values():
        content = operation["responses"]["400"]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}


def test_calls_need_a_bearer_token_and_health_does_not(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for (_, path), operation in operations(schema).items():
        if path.startswith("/api/v1/"):
            assert operation["security"] == [{"bearer": []}]
        else:
            assert {} in operation.get("security", [{}])


def test_every_call_that_creates_takes_an_idempotency_key(schema: dict[str, Any]) -> None:
    for path in ("customers", "customers/{customer_id}/consent", "customers/{customer_id}/enrollments"):
        parameters = operations(schema)["POST", f"/api/v1/{path}"]["parameters"]
        assert "Idempotency-Key" in {parameter["name"] for parameter in parameters}
    for path in ("verify", "identify", "training-runs"):
        parameters = operations(schema)["POST", f"/api/v1/{path}"]["parameters"]
        assert "Idempotency-Key" in {parameter["name"] for parameter in parameters}


def test_the_document_is_served_to_anyone(anonymous: APIClient, db: None) -> None:
    response = anonymous.get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert response.json()["info"]["title"] == "voiceauth"


def test_the_interactive_page_loads_nothing_from_elsewhere_and_no_inline_script(anonymous: APIClient, db: None) -> None:
    response = anonymous.get("/api/docs", HTTP_ACCEPT="text/html")
    page = response.content.decode()
    assert response.status_code == 200
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    assert "script-src" not in response["Content-Security-Policy"]  # so default-src 'self' holds for scripts
    script = anonymous.get("/api/docs?script=", HTTP_ACCEPT="*/*")
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/schema" in script.content.decode()


def test_operations_are_called_by_their_path_and_what_they_do(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(schema).values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) and "api_v1" not in name for name in names)
    assert {"customers_list", "customers_create", "customers_lock", "verify", "models_promote"} <= set(names)


def test_it_names_the_server_and_the_version_of_the_package(schema: dict[str, Any]) -> None:
    assert schema["servers"] == [{"url": "/", "description": "This installation"}]
    assert schema["info"]["version"] == __version__


def test_every_enumeration_is_described_with_each_of_its_values(schema: dict[str, Any]) -> None:
    enums = {name: each for name, each in schema["components"]["schemas"].items() if "enum" in each}
    assert [name for name, each in enums.items() if not each.get("description")] == []
    named = settings.SPECTACULAR_SETTINGS["ENUM_NAME_OVERRIDES"]
    assert isinstance(named, dict)
    for name, path in named.items():
        if isinstance(path, str):
            missing = [value for value in enums[name]["enum"] if f"`{value}`" not in enums[name]["description"]]
            assert missing == [], name


def test_no_description_speaks_of_the_code(schema: dict[str, Any]) -> None:
    """A docstring in reStructuredText has double backticks; what is written for callers has single ones."""
    assert "``" not in yaml.safe_dump(schema)
