"""Typed readers of the environment. Junk stops the process at start, by name.

Every setting may also come from a file: ``NAME_FILE=/run/secrets/name`` (the Docker convention).
"""

import ipaddress
import os
import re
import secrets
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """Return the value of ``name``, or the stripped content of the file that ``name_FILE`` points to."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        if name in os.environ:
            raise ImproperlyConfigured(f"{name} and {name}_FILE are both set; set one of them.")
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from error
    return os.environ.get(name, default)


def boolean(name: str, default: bool) -> bool:
    """Read ``true`` or ``false`` (also ``1``/``0``, ``yes``/``no``, ``on``/``off``)."""
    value = text(name, str(default)).strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")


def number(name: str, default: float, *, minimum: float, maximum: float) -> float:
    """Read a finite number within bounds."""
    value = text(name, str(default))
    try:
        parsed = float(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}.") from error
    if not minimum <= parsed <= maximum:
        raise ImproperlyConfigured(f"{name} must lie between {minimum:g} and {maximum:g}, not {value}.")
    return parsed


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    """Read a whole number within bounds."""
    value = number(name, default, minimum=minimum, maximum=maximum)
    if value != int(value):
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value:g}.")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list, without empty entries.

    A comma within brackets separates nothing: ``a=[1, 2],b=3`` has two entries.
    """
    return [word.strip() for word in re.split(r",(?![^\[\]]*\])", text(name, default)) if word.strip()]


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Read a comma-separated list of networks, like ``10.20.0.0/16``."""
    try:
        return [ipaddress.ip_network(word) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be networks like 10.20.0.0/16: {error}.") from error


def origins(name: str) -> list[str]:
    """Read a comma-separated list of origins, like ``https://teller.bank.example``."""
    found = words(name)
    if wrong := [word for word in found if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?", word)]:
        raise ImproperlyConfigured(f"{name} must be origins like https://teller.bank.example, not {wrong[0]!r}.")
    return found


def mapping(name: str, values: tuple[str, ...]) -> dict[str, str]:
    """Read a comma-separated mapping to some of ``values``: ``voice-reviewers=reviewer,voice-admins=admin``."""
    found = {}
    for word in words(name):
        key, _, value = word.rpartition("=")
        if not key or value not in values:
            raise ImproperlyConfigured(f"{name} must be like group=role, of {', '.join(values)}; not {word!r}.")
        found[key] = value
    return found


def integers(name: str, defaults: dict[str, int]) -> dict[str, int]:
    """Read whole numbers above zero by name, ``calls=600,reads=60``, each in place of its default."""
    values = dict(defaults)
    for word in words(name):
        key, _, value = word.partition("=")
        if key not in defaults or not value.isascii() or not value.isdigit() or not 0 < int(value) < 1_000_000_000:
            raise ImproperlyConfigured(f"{name} must be like calls=600, of {', '.join(defaults)}; not {word!r}.")
        values[key] = int(value)
    return values


def secret(name: str, folder: Path) -> str:
    """Return a secret from the environment, or one that is made on first use and kept in ``folder`` (mode 0600)."""
    value = text(name)
    if value:
        if len(value) < 32:
            raise ImproperlyConfigured(f"{name} must have at least 32 characters.")
        return value
    path = folder / name.lower()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return path.read_text(encoding="ascii").strip()


# On SSDs and in memory, any page is read almost as fast as the next one. PostgreSQL's default is for turning disks: it
# would rather read a million calls in their order than look up the few that a filter asks for.
PLANNING = "-c random_page_cost=1.1"


def database(name: str) -> dict[str, Any]:
    """Return Django's database settings for a ``postgresql://`` URL. PostgreSQL is the only engine."""
    url = text(name)
    if not url:  # manage.py and the tests attach the embedded server before the first connection
        url = "postgresql://voiceauth@127.0.0.1:5432/voiceauth"
    try:
        config = dict(environ.Env.db_url_config(url))
    except (ValueError, KeyError) as error:
        raise ImproperlyConfigured(f"{name} is not a database URL.") from error
    if config["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{name} must be a postgresql:// URL.")
    options = dict(config.get("OPTIONS") or {})
    if "host" in options:  # postgresql://user:@/name?host=/socket/folder
        config["HOST"] = options.pop("host")
    return config | {
        "ENGINE": "voiceauth.platform.postgresql",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 3,
            "prepare_threshold": 0,  # within ``preparing``; elsewhere values are part of the statement, and nothing is
            **options,
            "options": f"{PLANNING} {options.get('options', '')}".strip(),
        },
    }


def storage(name: str, default: Path) -> dict[str, Any]:
    """Return Django's settings of the storage of sealed files: a folder, or ``s3://bucket/prefix``.

    S3 needs ``requirements-s3.txt``. Its credentials and region are boto3's own (``AWS_ACCESS_KEY_ID``, a role, …);
    ``name_ENDPOINT`` names another service that speaks S3.
    """
    value = text(name, str(default))
    if "://" not in value:
        options: dict[str, Any] = {"location": str(Path(value).resolve()), "base_url": None}
        options |= {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}
        return {"BACKEND": "voiceauth.platform.storage.AudioFolder", "OPTIONS": options}
    return _bucket(name, value, "a folder or s3://bucket/prefix")


def bucket(name: str) -> dict[str, Any] | None:
    """Return Django's settings of ``s3://bucket/prefix``, as ``storage`` does; ``None`` where ``name`` is not set."""
    value = text(name)
    return _bucket(name, value, "s3://bucket/prefix") if value else None


def _bucket(name: str, value: str, accepted: str) -> dict[str, Any]:
    scheme, _, place = value.partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme != "s3" or not bucket:
        raise ImproperlyConfigured(f"{name} must be {accepted}, not {value!r}.")
    options = {"bucket_name": bucket, "location": prefix.strip("/"), "default_acl": None}
    if endpoint := text(f"{name}_ENDPOINT"):
        options["endpoint_url"] = endpoint
    return {"BACKEND": "voiceauth.platform.s3.Bucket", "OPTIONS": options}


def crontab(name: str, value: str) -> Any:
    """Return a Celery crontab for five cron fields."""
    from celery.schedules import ParseException
    from celery.schedules import crontab as celery_crontab

    try:
        return celery_crontab.from_string(value)
    except (ValueError, ParseException) as error:
        raise ImproperlyConfigured(f"{name} must have five cron fields, not {value!r}.") from error
