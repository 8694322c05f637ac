"""Requests for every operation of the OpenAPI document, so that a new endpoint is included by itself.

Each text in them is ``marker``, where its pattern allows it, so that a test can look for it afterwards.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

Schema = dict[str, Any]


@cache
def openapi_document() -> Schema:
    """The OpenAPI document, as it is sent. Made once: leave it as it is."""
    return json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))


@dataclass(frozen=True)
class Call:
    """One request: a path with its query, and the content that its operation takes."""

    method: str
    path: str
    roles: list[str] = field(default_factory=list)
    content_type: str = ""
    content: dict[str, Any] = field(default_factory=dict)  # bytes are the content of an uploaded file

    def body(self) -> tuple[str, bytes]:
        """The Content-Type header and the bytes to send."""
        if self.content_type != "multipart/form-data":
            return self.content_type, json.dumps(self.content).encode()
        boundary = uuid.uuid4().hex
        parts = []
        for name, value in self.content.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
            if isinstance(value, bytes):
                head += f'; filename="{name}.wav"\r\nContent-Type: audio/wav'
            text = value if isinstance(value, str | bytes) else json.dumps(value)
            parts.append(head.encode() + b"\r\n\r\n" + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        return f"{self.content_type}; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def calls(document: Schema, *, marker: str, audio: bytes) -> Iterator[Call]:
    """The requests, what erases last: with what is required, and with everything."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for method, path, operation in sorted(operations, key=lambda each: each[0] == "DELETE"):
        sampler = Sampler(document, marker, audio)
        for everything in (False, True):
            yield sampler.call(method, path, operation, everything)


@dataclass(frozen=True)
class Sampler:
    """Values that the document accepts."""

    document: Schema
    marker: str
    audio: bytes

    def call(self, method: str, path: str, operation: Schema, everything: bool) -> Call:
        query = []
        for parameter in operation.get("parameters", []):
            name, value = parameter["name"], self.value(parameter["schema"], everything)
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", str(value))
            elif parameter["in"] == "query" and everything:
                query.append(f"{name}={value}")
        kinds = operation.get("requestBody", {}).get("content", {})
        kind = "multipart/form-data" if "multipart/form-data" in kinds else next(iter(kinds), "")
        content = self.value(kinds[kind]["schema"], everything) if kind else {}
        path = "?".join(filter(None, [path, "&".join(query)]))
        return Call(method, path, operation.get("x-roles", []), kind or "application/json", content)

    def value(self, schema: Schema, everything: bool) -> Any:
        """Something that the schema accepts, mostly."""
        if "$ref" in schema:
            return self.value(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], everything)
        for several in ("allOf", "oneOf", "anyOf"):
            if several in schema:
                return self.value(schema[several][0], everything)
        if "enum" in schema:
            return schema["enum"][0]
        kinds = schema.get("type", "object")
        kind = kinds[0] if isinstance(kinds, list) else kinds
        match kind:
            case "object":
                wanted = schema.get("properties", {})
                names = wanted if everything else schema.get("required", [])
                return {name: self.value(wanted[name], everything) for name in names if name in wanted}
            case "array":
                return [self.value(schema["items"], everything)]
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return False
        return None

    def _text(self, schema: Schema) -> Any:
        match schema.get("format"):
            case "uuid":
                return str(uuid.uuid4())
            case "binary":
                return self.audio
            case "date-time":
                return "2026-11-26T12:00:00Z"
        pattern = schema.get("pattern", "")
        return self.marker if not pattern or re.search(pattern, self.marker) else "x"
