"""Start-up checks: a misconfigured service must not take calls (``manage.py check`` runs them)."""

import stat
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import InvalidStorageError, storages

from voiceauth.platform.vault import keyring

STORAGES = {
    "audio": "VOICEAUTH_AUDIO_STORAGE",
    "erasures": "VOICEAUTH_ERASURE_JOURNAL",
    "models": "VOICEAUTH_MODELS_STORAGE",
}
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1", "testserver"}


@register()
def configuration(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check settings that contradict each other, or that reveal too much."""
    found: list[CheckMessage] = []
    if settings.DEBUG and settings.VOICEAUTH_TLS:
        found.append(
            Error(
                "VOICEAUTH_DEBUG shows internals to callers. Do not set it together with VOICEAUTH_TLS.",
                id="voiceauth.E001",
            )
        )
    if "*" in settings.ALLOWED_HOSTS and not settings.DEBUG:
        found.append(Error("VOICEAUTH_ALLOWED_HOSTS must name the hosts, not *.", id="voiceauth.E002"))
    if settings.SECRET_KEY == settings.VOICEAUTH_MASTER_KEY:
        found.append(
            Error("VOICEAUTH_SECRET_KEY and VOICEAUTH_MASTER_KEY must be two different secrets.", id="voiceauth.E003")
        )
    if not settings.VOICEAUTH_TLS and not settings.DEBUG and set(settings.ALLOWED_HOSTS) - LOOPBACK:
        message = "Other hosts are allowed without VOICEAUTH_TLS: tokens and voices may travel unencrypted."
        found.append(Warning(message, id="voiceauth.W001"))
    if settings.VOICEAUTH_TLS and not settings.VOICEAUTH_TRUSTED_PROXIES:
        message = "VOICEAUTH_TLS means a proxy in front, but VOICEAUTH_TRUSTED_PROXIES is 0."
        hint = "The audit trail would name the proxy's address as every caller's."
        found.append(Warning(message, hint=hint, id="voiceauth.W002"))
    return found


@register()
def secrets_are_private(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that nobody else can read the generated secrets."""
    if not settings.SECRETS_DIR.is_dir():
        return []
    return [
        Error(f"{path} is open to other users; chmod go-rwx it.", id="voiceauth.E004")
        for path in (settings.SECRETS_DIR, *sorted(settings.SECRETS_DIR.iterdir()))
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]


@register()
def master_keys_and_storage(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that the master keys and the storages are configured completely."""
    found: list[CheckMessage] = []
    try:
        keyring.providers()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="voiceauth.E006"))
    for alias, name in STORAGES.items():
        try:
            _ = storages[alias] if alias in settings.STORAGES else None
        except (InvalidStorageError, ImproperlyConfigured) as error:
            found.append(Error(f"{name}: {error}", hint="S3 needs requirements-s3.txt.", id="voiceauth.E007"))
    if settings.VOICEAUTH_TRANSIT_URL and not settings.VOICEAUTH_TRANSIT_TOKEN:
        found.append(Error("VOICEAUTH_TRANSIT_URL needs VOICEAUTH_TRANSIT_TOKEN.", id="voiceauth.E008"))
    return found


@register()
def identity_provider(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that staff can sign in by what is configured."""
    found: list[CheckMessage] = []
    needed = ("VOICEAUTH_OIDC_CLIENT_ID", "VOICEAUTH_OIDC_CLIENT_SECRET", "VOICEAUTH_OIDC_ROLES")
    if settings.VOICEAUTH_OIDC_ISSUER and (missing := [name for name in needed if not getattr(settings, name)]):
        found.append(Error(f"VOICEAUTH_OIDC_ISSUER needs {' and '.join(missing)}.", id="voiceauth.E009"))
    host = urlsplit(settings.VOICEAUTH_OIDC_ISSUER)
    if settings.VOICEAUTH_OIDC_ISSUER and host.scheme != "https" and host.hostname not in LOOPBACK:
        message = "VOICEAUTH_OIDC_ISSUER must begin with https://: whoever is between could sign in as anybody."
        found.append(Error(message, id="voiceauth.E010"))
    if not settings.VOICEAUTH_LOCAL_PASSWORDS and not settings.VOICEAUTH_OIDC_ISSUER:
        message = "Without VOICEAUTH_LOCAL_PASSWORDS and VOICEAUTH_OIDC_ISSUER nobody can sign in."
        found.append(Error(message, id="voiceauth.E011"))
    return found


@register()
def policy(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that the default limits of enrollment can be met."""
    if settings.VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS > settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS:
        message = "One recording would need more speech than the whole enrollment."
        return [Error(message, hint="VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS", id="voiceauth.E005")]
    return []
