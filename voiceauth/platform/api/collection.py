"""A Postman collection (format 2.1, which Bruno and Insomnia import too), made from the OpenAPI document."""

import json
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from voiceauth.platform.api.roles import ROLES

Schema = dict[str, Any]
FORMAT = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
VARIABLES = {"url": "http://127.0.0.1:8000", "customer_id": "C-1001"} | {f"{role}_token": "" for role in ROLES}


def build() -> Schema:
    """Return the collection: a folder for each part of the API, a request for each call of it."""
    document = json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))
    folders: dict[str, list[Schema]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            request = _request(document, method.upper(), path, operation)
            item = {"name": operation["operationId"], "request": request}
            folders.setdefault(operation["tags"][0], []).append(item)
    return {
        "info": {"name": "voiceauth", "description": document["info"]["description"], "schema": FORMAT},
        "variable": [{"key": name, "value": value} for name, value in VARIABLES.items()],
        "item": [{"name": name, "item": items} for name, items in folders.items()],
    }


def text() -> str:
    """Return the collection as the file has it."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


def _request(document: Schema, method: str, path: str, operation: Schema) -> Schema:
    given: dict[str, list[Schema]] = {"path": [], "query": [], "header": []}
    for each in operation.get("parameters", []):
        name, description = each["name"], each.get("description", "")
        value = "{{$guid}}" if name == "Idempotency-Key" else f"{{{{{name}}}}}" if name in VARIABLES else ""
        row = {"key": name, "value": value, "description": description}
        given[each["in"]].append(row if each["in"] != "query" else row | {"value": "", "disabled": True})
    parts = path.replace("{", ":").replace("}", "").strip("/").split("/")
    url: Schema = {"raw": "{{url}}/" + "/".join(parts), "host": ["{{url}}"], "path": parts}
    if given["path"]:
        url["variable"] = given["path"]
    if given["query"]:
        url["query"] = given["query"]
    request = {"method": method, "url": url, "header": given["header"], "auth": _auth(operation)}
    kinds = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in kinds:
        request["body"] = {"mode": "formdata", "formdata": _form(document, kinds["multipart/form-data"]["schema"])}
    elif kinds:
        content = json.dumps(_example(document, kinds["application/json"]["schema"]), indent=1)
        request["body"] = {"mode": "raw", "raw": content, "options": {"raw": {"language": "json"}}}
    return request | {"description": operation.get("description", "")}


def _auth(operation: Schema) -> Schema:
    """Return the token of the first role that may make the call."""
    roles = [role for role in ROLES if role in operation.get("x-roles", [])]
    if not roles:
        return {"type": "noauth"}
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{roles[0]}_token}}}}", "type": "string"}]}


def _form(document: Schema, schema: Schema) -> list[Schema]:
    """Return the fields of a form; those that may be left out are switched off."""
    schema, rows = _resolved(document, schema), []
    for name, field in schema["properties"].items():
        row = {"key": name, "description": field.get("description", "")}
        if field.get("format") == "binary":
            row |= {"type": "file", "src": None}
        else:
            value = _example(document, field, name)
            row |= {"type": "text", "value": value if isinstance(value, str) else json.dumps(value)}
        rows.append(row if name in schema.get("required", []) else row | {"disabled": True})
    return rows


def _example(document: Schema, schema: Schema, name: str = "") -> Any:
    """Return something of the schema's type, with what is required."""
    schema = _resolved(document, schema)
    if name in VARIABLES:
        return f"{{{{{name}}}}}"
    if "default" in schema or "enum" in schema:
        return schema["default"] if "default" in schema else schema["enum"][0]
    match schema.get("type"):
        case "object":
            required = schema.get("required", [])
            fields = schema.get("properties", {})
            return {key: _example(document, fields[key], key) for key in fields if key in required}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
    return ""


def _resolved(document: Schema, schema: Schema) -> Schema:
    while "$ref" in schema or "allOf" in schema or "oneOf" in schema:
        inner = (schema.get("allOf") or schema.get("oneOf") or [schema])[0]
        found = document["components"]["schemas"][inner["$ref"].rsplit("/", 1)[1]] if "$ref" in inner else inner
        schema = found | {key: value for key, value in schema.items() if key in ("default", "description")}
    return schema
