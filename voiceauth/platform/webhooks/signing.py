"""Secrets and signatures of webhooks, as https://www.standardwebhooks.com describes them (HMAC-SHA256)."""

import base64
import hashlib
import hmac

from voiceauth.platform import vault
from voiceauth.platform.webhooks.models import WebhookEndpoint


def secret_of(endpoint: WebhookEndpoint) -> str:
    """Return the secret of an endpoint, ``whsec_`` and base64. It is shown once, when it is made."""
    return "whsec_" + base64.b64encode(_key_of(endpoint)).decode()


def headers(endpoint: WebhookEndpoint, event_id: str, body: bytes, now: int) -> dict[str | bytes, str | bytes]:
    """Return the headers that identify, date and sign a webhook; ``now`` is in seconds since 1970."""
    signed = b".".join([event_id.encode(), str(now).encode(), body])
    signature = base64.b64encode(hmac.new(_key_of(endpoint), signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": f"v1,{signature}"}


def _key_of(endpoint: WebhookEndpoint) -> bytes:
    return vault.derived_key(f"webhook:{endpoint.pk}:{endpoint.secret_number}")
