"""Decisions, call recordings and training runs, as the services leave them."""

import math
from datetime import timedelta
from typing import Any

from django.utils import timezone

from enrollment.keys import seal_call
from enrollment.models import Customer
from mltraining.models import ModelVersion
from tests.support.audio import tone
from voiceauth.retraining.models import TrainingRun
from voiceauth.verification.models import CallAudio, Decision, DriftReport


def make_decision(customer_id: str = "C-1001", **fields: Any) -> Decision:
    given = {
        "kind": Decision.Kind.VERIFY,
        "decision": Decision.Result.ACCEPT,
        "probability": 0.9871,
        "threshold": 0.5,
        "log_likelihood_ratio": 8.93,
        "score": 0.71,
        "speech_seconds": 5.2,
        "snr_db": 21.0,
        "clipping_ratio": 0.0,
        "model_version": "20261124-203015-3fa9c1",
        "model_fingerprint": "3fa9c1" + "0" * 58,
        "calibration_version": "c1",
        "actor": "ivr",
        "request_id": "5f1c3a52-req",
        "scoring_milliseconds": 84.2,
    } | fields
    return Decision.objects.create(customer_id=customer_id, **given)


def keep_audio(decision: Decision, customer: Customer, audio: bytes | None = None) -> CallAudio:
    return CallAudio.objects.create(
        decision=decision,
        customer=customer,
        content=seal_call(customer, decision.pk, tone(440) if audio is None else audio),
        expires_at=timezone.now() + timedelta(days=30),
    )


def make_run(**fields: Any) -> TrainingRun:
    given = {
        "state": TrainingRun.State.RUNNING,
        "requested_by": "user:grace",
        "progress_percent": 46.0,
        "phase": "training",
        "epoch": 7,
        "epochs": 15,
        "speakers": 50,
        "clips": 1204,
        "started_at": timezone.now() - timedelta(minutes=3),
        "heartbeat_at": timezone.now(),
        "config": {"training.epochs": 15},
        "metrics": [epoch_metrics(epoch) for epoch in range(1, 8)],
    } | fields
    return TrainingRun.objects.create(**given)


def epoch_metrics(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train_loss": 0.68 * math.exp(-epoch / 4),
        "validation_loss": 0.7 * math.exp(-epoch / 5) + 0.02,
        "roc_auc": 1 - 0.12 * math.exp(-epoch / 3),
        "target_trials": 240,
        "impostor_trials": 11760,
    }


def make_drift_report(model: ModelVersion, **fields: Any) -> DriftReport:
    until = timezone.now()
    calls = {"reference_calls": 600, "recent_calls": 600}
    scores = {"psi": 0.412, "edges": [0.4, 0.6], "reference": [0.2, 0.5, 0.3], "recent": [0.7, 0.2, 0.1]}
    decisions = {"psi": 0.02, "names": ["ACCEPT", "REJECT"], "reference": [0.9, 0.1], "recent": [0.86, 0.14]}
    given = {
        "since": until - timedelta(days=7),
        "until": until,
        "reference_since": until - timedelta(days=40),
        "reference_until": until - timedelta(days=12),
        "measures": {"score": scores | calls, "decision": decisions | calls},
        "alarms": ["score"],
        "errors": [
            {"group": "all", "value": "all calls", "genuine": 412, "false_rejects": 14}
            | {"impostors": 96, "false_accepts": 1},
            {"group": "net speech", "value": "below 3 s", "genuine": 20, "false_rejects": 4}
            | {"impostors": 31, "false_accepts": 1},
            {"group": "net speech", "value": "3 to 6 s", "genuine": 392, "false_rejects": 10}
            | {"impostors": 65, "false_accepts": 0},
        ],
    } | fields
    return DriftReport.objects.create(model=model, **given)
