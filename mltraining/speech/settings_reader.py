"""Plain values (as YAML and JSON have them) read into frozen dataclasses, each checked and named in its error.

The training configuration is built with it. A field is declared with ``checked(default, check)``, where ``check``
returns what is wrong with a value, or None.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """The configuration cannot be run; the message names the key."""

    code = "invalid_configuration"


Check = Callable[[Any], str | None]  # a value -> what is wrong with it, or None


def checked(default: Any, check: Check) -> Any:
    """Declare a dataclass field whose values ``check`` must accept."""
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata={"check": check})
    return field(default=default, metadata={"check": check})


def at_least(minimum: float) -> Check:
    """Accept numbers from ``minimum``."""
    return lambda value: None if value >= minimum else f"must be at least {minimum:g}"


def positive(value: float) -> str | None:
    """Accept numbers above 0."""
    return None if value > 0 else "must be greater than 0"


def fraction(value: float) -> str | None:
    """Accept numbers above 0 and up to 1."""
    return None if 0 < value <= 1 else "must be greater than 0 and at most 1"


def below_one(value: float) -> str | None:
    """Accept numbers from 0 to below 1."""
    return None if 0 <= value < 1 else "must be at least 0 and below 1"


def probability(value: float) -> str | None:
    """Accept numbers from 0 to 1."""
    return None if 0 <= value <= 1 else "must be between 0 and 1"


def between(value: float | None) -> str | None:
    """Accept numbers between 0 and 1, both excluded, and None."""
    return None if value is None or 0 < value < 1 else "must be between 0 and 1, both excluded"


def not_empty(value: Sequence[Any]) -> str | None:
    """Accept lists that hold something."""
    return None if value else "must not be empty"


def two_rising(value: tuple[float, float]) -> str | None:
    """Accept a range: two numbers, the lower one first."""
    return None if value[0] <= value[1] else "must be two numbers, the lower one first"


def two_rising_fractions(value: tuple[float, float]) -> str | None:
    """Accept a range from 0 to 1."""
    return None if 0 <= value[0] <= value[1] <= 1 else "must be two numbers from 0 to 1, the lower one first"


def refused(reason: str) -> Check:
    """Accept nothing but the empty value, and say why."""
    return lambda value: None if value in (None, "") else f"is refused: {reason}"


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply ``section.key=value``, whose value is YAML, to ``values``. Raises ConfigError, which names the key."""
    key, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"{assignment}: is not an override. Write section.key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: the value {text!r} is not YAML") from error
    *sections, name = key.strip().split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{key}: is not a key, because {section!r} is not a section")
    target[name] = value


def build(cls: type[T], values: Any, prefix: str = "") -> T:
    """Build the dataclass from a mapping, sections within it too. Raises ConfigError, which names the key."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')}: must be a section, not {values!r}")
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # every T is a dataclass
    for key in values:
        if key not in fields:
            raise ConfigError(f"{prefix}{key}: is not a key. Known here: {', '.join(fields)}.")
    kinds = typing.get_type_hints(cls)
    built = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if dataclasses.is_dataclass(kinds[key]):
            built[key] = build(kinds[key], value, f"{name}.")
            continue
        built[key] = _typed(kinds[key], value, name)
        check = fields[key].metadata.get("check")
        reason = check(built[key]) if check else None
        if reason:
            raise ConfigError(f"{name}: {built[key]!r} {reason}")
    return cls(**built)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """Return ``value`` as ``kind``. Raises ConfigError, which names the key."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # always "or None", which files also write as 'None'
        if value is None or value == "None":
            return None
        return _typed(arguments[0], value, name)
    if origin is Literal:
        if value is False and "No" in arguments:  # an unquoted No is false in YAML 1.1
            value = "No"
        if value not in arguments:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name}: must be a list, not {value!r}")
        if Ellipsis not in arguments and len(value) != len(arguments):
            raise ConfigError(f"{name}: must hold {len(arguments)} values, not {len(value)}")
        return tuple(_typed(arguments[0], item, name) for item in value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)  # a fold or a GPU may be written 0 or '0'
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConfigError(f"{name}: must be a finite number")
        return float(value)
    words = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}
    raise ConfigError(f"{name}: must be {words[kind]}, not {value!r}")


def plain(value: Any) -> Any:
    """Turn tuples into lists, at every depth: what YAML and JSON write."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value
