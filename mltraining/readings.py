"""What the metrics tell of models and of the queue."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils import timezone

from mltraining import calibrations, selectors, worker_client
from voiceauth.platform.metrics import Reading

QUEUE = "scoring"


def model_in_service() -> Mapping[tuple[str, ...], float]:
    """Return the model and the calibration that decide."""
    model = selectors.active_model()
    calibration = calibrations.in_force(model.version) if model else None
    return {(model.version, calibration.version if calibration else ""): 1.0} if model else {}


def model_age_seconds() -> Mapping[tuple[str, ...], float]:
    """Return for how long the model has been in service."""
    model = selectors.active_model()
    since = model.activated_at if model else None
    return {(): (timezone.now() - since).total_seconds()} if since else {}


def queue_length() -> Mapping[tuple[str, ...], float]:
    """Return how many messages no worker has taken."""
    length: Any = worker_client.connection().llen(QUEUE)
    return {(QUEUE,): float(length)}


def queue_age_seconds() -> Mapping[tuple[str, ...], float]:
    """Return how old the oldest question is that waits, in whole seconds of Redis's own clock; 0 where none does."""
    redis = worker_client.connection()
    message: Any = redis.lindex(QUEUE, -1)
    if message is None:
        return {(QUEUE,): 0.0}
    call_id = msgspec.json.decode(message)["headers"]["id"]
    idle: Any = redis.object("idletime", f"question:{call_id}") if redis.exists(f"question:{call_id}") else 0
    return {(QUEUE,): float(idle or 0)}


ALL = (
    Reading("voiceauth_model_info", "The model in service.", ("model", "calibration"), model_in_service),
    Reading("voiceauth_model_age_seconds", "Since the model went into service.", (), model_age_seconds),
    Reading("voiceauth_queue_length", "Messages that no worker has taken.", ("queue",), queue_length),
    Reading("voiceauth_queue_age_seconds", "Of the oldest question that waits.", ("queue",), queue_age_seconds),
)
