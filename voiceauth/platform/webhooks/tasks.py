"""Tasks. Thin: one service called."""

from uuid import UUID

from celery import shared_task

from voiceauth.platform.webhooks import services


@shared_task(name="webhooks.deliver", soft_time_limit=15, time_limit=30)
def deliver(delivery_id: str) -> None:
    """Make one attempt at the delivery with this id."""
    services.deliver(UUID(delivery_id))


@shared_task(name="webhooks.sweep")
def sweep() -> None:
    """Send the deliveries that are due, and delete old ones."""
    services.sweep()
