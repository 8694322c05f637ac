"""OpenAPI: what all operations share is described once, here."""

from inspect import getdoc
from typing import Any

from django.utils.module_loading import import_string
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_lib_doc_excludes
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import OpenApiParameter

from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.idempotency import KEY_PATTERN, IdempotentCreate
from voiceauth.platform.api.permissions import scope_of
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.api.serializers import ErrorEnvelope, StrictSerializer

DESCRIPTIONS = {
    400: "The request cannot be read or is not valid.",
    401: "No valid token.",
    403: "The client's role or the token's scopes do not allow this.",
    404: "There is no such object.",
    405: "The path does not support this method.",
    406: "The API answers only application/json.",
    408: "The body took too long to arrive.",
    409: "The object is not in a state that allows this.",
    413: "The upload or the audio is too large.",
    415: "The type of the body or of the audio is not supported.",
    422: "Understood and refused; the code says why.",
    429: "Too many calls; see Retry-After.",
    503: "The database, the queue or a scoring worker does not answer; see Retry-After.",
}
ALWAYS = (400, 404, 405, 406, 503)
AUTHENTICATED = (401, 403, 429)
WITH_BODY = (408, 409, 413, 415, 422)


def internal_classes() -> list[type]:
    """Return the classes whose docstrings are for us: they describe no operation and no schema."""
    return [*get_lib_doc_excludes(), IdempotentCreate, StrictSerializer, StrictFilterSet]


def describe_enums(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Describe every enumeration: by the docstring of its class, or by the help text of a field that has it."""
    schemas = result["components"]["schemas"]
    for name, enum in schemas.items():
        if "enum" in enum:
            path = spectacular_settings.ENUM_NAME_OVERRIDES.get(name)
            enum["description"] = getdoc(_class_at(path)) if isinstance(path, str) else _help_text(schemas, name)
    return result


def _class_at(path: str) -> object:
    """Return the class at ``module.Class.Inner``."""
    outer, _, inner = path.rpartition(".")
    return getattr(import_string(outer), inner)


def _help_text(schemas: dict[str, Any], name: str) -> str:
    wanted = {"$ref": f"#/components/schemas/{name}"}
    fields = (field for schema in schemas.values() for field in schema.get("properties", {}).values())
    return next(
        (
            each["description"]
            for each in fields
            if wanted in (*each.get("allOf", []), *each.get("oneOf", [])) and "description" in each
        ),
        "",
    )


class BearerScheme(OpenApiAuthenticationExtension):
    """Describes the authentication by token."""

    target_class = "voiceauth.platform.api.authentication.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "A client's token: va_<role>_<secret>"}


class ApiSchema(AutoSchema):
    """Adds the error responses, ``Idempotency-Key`` and ``X-Request-ID``."""

    def get_operation_id(self) -> str:
        """Return a name like ``customers_list``; what is no collection is called by its verb: ``customers_lock``."""
        name = super().get_operation_id()
        collection = hasattr(self.view, "get") or hasattr(self.view, "delete")
        return name if collection else name.removesuffix("_create")

    def get_override_parameters(self) -> list[Any]:
        """Add ``Idempotency-Key`` where a POST can be repeated."""
        if self.method != "POST" or not isinstance(self.view, IdempotentCreate):
            return []
        key = OpenApiParameter(
            "Idempotency-Key",
            {"type": "string", "pattern": KEY_PATTERN, "minLength": 1, "maxLength": 255},
            OpenApiParameter.HEADER,
            description="A repeat with the same key and content gets the first answer again, for 24 hours.",
        )
        return [key]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Add the scope that is needed, the error responses, and the headers of every answer."""
        operation = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        envelope = self.resolve_serializer(ErrorEnvelope, "response").ref
        statuses = [*ALWAYS]
        if self.view.get_authenticators():
            statuses += AUTHENTICATED
        if self.method in {"POST", "PUT", "PATCH", "DELETE"}:
            statuses += WITH_BODY
        if scope := scope_of(self.view, self.method):
            roles = sorted(roles_with(scope))
            operation |= {"x-scope": scope, "x-roles": roles}
            needed = f"Needs the scope `{scope}` ({', '.join(roles)})."
            operation["description"] = "\n\n".join(filter(None, [operation.get("description", ""), needed]))
        responses = operation["responses"]
        for status in sorted(statuses):
            error = {"description": DESCRIPTIONS[status], "content": {"application/json": {"schema": envelope}}}
            responses.setdefault(str(status), error)
        responses["414"] = {
            "description": "The address is too long.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
        for status, response in responses.items():
            if status == "414":
                continue  # the web server's own answer: it never reaches us
            headers = response.setdefault("headers", {})
            headers["X-Request-ID"] = {"schema": {"type": "string"}, "description": "In the log and in the trail."}
            if status in {"429", "503"}:
                headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds."}
        return operation
