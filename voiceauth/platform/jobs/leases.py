"""What all long work shares: the lease that a worker holds, and the message to the queue."""

import enum
import uuid
from dataclasses import dataclass

from celery import current_app
from django.db import transaction

HEARTBEAT_SECONDS = 5.0
LOST_SECONDS = 30.0  # without a heartbeat
RESEND_SECONDS = 30.0  # queued without a claim
MOST_LOST_WORKERS = 5


@dataclass(frozen=True)
class Claim:
    run_id: uuid.UUID
    attempt: int


class Order(enum.Enum):
    """What a heartbeat tells its worker."""

    GO_ON = "go on"
    CANCEL = "cancel"
    LET_GO = "let go"  # the run is no longer this worker's


def send_on_commit(task_name: str, argument: str) -> None:
    """A message to the training queue. It expires where the sweep would send it again: none pile up."""

    def publish() -> None:
        current_app.send_task(task_name, args=[argument], queue="training", expires=RESEND_SECONDS, retry=False)

    transaction.on_commit(publish, robust=True)  # a queue that is down must not undo what is committed
