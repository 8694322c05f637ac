"""Failures of webhooks that people may see."""

from voiceauth.platform.errors import DomainError


class InvalidWebhookUrl(DomainError):
    """Carries ``url``."""

    code = "invalid_webhook_url"
    message = "{url} cannot receive webhooks. Give an https:// address without a user name and without a fragment."


class WebhookTargetRefused(DomainError):
    """The host is within a network that webhooks must not reach. Carries ``host``."""

    code = "webhook_target_refused"
    message = (
        "{host} is an internal address, or is reached without TLS. "
        "Give a public https:// address, or allow its network in VOICEAUTH_WEBHOOK_NETWORKS."
    )
