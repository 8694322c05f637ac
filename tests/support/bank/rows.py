"""The rows of the bank."""

import random
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.models import AudioSample, Customer
from mltraining.calibrations import MeasuredOn
from mltraining.models import ModelVersion
from mltraining.speech.audio.decoding import decode
from tests.support.audio import wav
from tests.support.customers import make_customer
from tests.support.evidence import COMPARISON, DISTRIBUTION, EVALUATION, OVERLAPPING
from tests.support.model import make_model
from tests.support.rows import keep_audio
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.platform.webhooks.events import TYPES
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from voiceauth.policies.services import change
from voiceauth.retraining.models import Recalibration
from voiceauth.screening import cases
from voiceauth.screening.models import Fraudster, ReviewCase
from voiceauth.verification.models import Decision

RITA = Actor(name="user:rita", role="reviewer")
SAMPLES = Path(__file__).parents[3] / "docs" / "samples"
IN_SERVICE, CHALLENGER = "20261104-091500-7c41d0", "20261124-203015-3fa9c1"
NAMES = (
    "Mira Sandholm",
    "Jonas Feldweg",
    "Ada Brunnthal",
    "Tomas Okeverde",
    "Lena Marrowick",
    "Piet van Osterholt",
    "Irina Volkovets",
    "Samuel Achterberg",
    "Noor Haddadin",
    "Clara Montebruno",
    "Emil Rasmundsen",
    "Ines Carvalhosa",
    "שירה גלבועי",
    "نور الهادي الأنصاري",
    "Wilhelmina Charlotte von und zu Langenfeld-Hohenstetten",
    "Ólöf Þórhallsdóttir",
)
APART = {  # the challenger tells voices further apart than ``OVERLAPPING``
    "edges": OVERLAPPING["edges"],
    "impostor": [max(0.0, 8 - abs(edge + 4)) / 64 for edge in range(-12, 12)],
    "target": [max(0.0, 8 - abs(edge - 4)) / 64 for edge in range(-12, 12)],
}
REPLAYED_FROM = 4.2  # seconds of the enrollment
LONG_ID = "retail-banking.eu-central:0000-4711-0815-2342-premium@branch-007"


def recorded(name: str) -> bytes:
    return (SAMPLES / f"{name}.ogg").read_bytes()


def customers(chance: random.Random, now: datetime) -> Iterator[Customer]:
    states = ["ENROLLED"] * 9 + ["LOCKED", "ENROLLING", "ENROLLED", "ENROLLED", "PENDING", "OPTED_OUT", "EXPIRED"]
    for number, (name, state) in enumerate(zip(NAMES, states, strict=True)):
        known = f"C-{101_204 + 37 * number}" if number != 5 else LONG_ID
        enrolled = now - timedelta(days=40 - number) if state in ("ENROLLED", "LOCKED") else None
        yield make_customer(
            known,
            display_name=name,
            state=state,
            enrolled_at=enrolled,
            speech_seconds=chance.uniform(21, 44),
            refusals=3 if state == "LOCKED" else 0,
            last_accessed_at=now - timedelta(hours=number),
        )


def models() -> tuple[ModelVersion, ModelVersion]:
    make_model("20260930-120000-11aa22", state="RETIRED")
    model = make_model(IN_SERVICE, state="ACTIVE")
    model.calibrations.update(distribution=DISTRIBUTION)
    compared = COMPARISON | {"champion": IN_SERVICE, "distributions": {"champion": OVERLAPPING, "challenger": APART}}
    metrics = {"eer": 0.0061, "target_trials": 615, "impostor_trials": 30135, "comparison": compared}
    return model, make_model(CHALLENGER, metrics=metrics | {"evaluation": EVALUATION})


def decisions(chance: random.Random, now: datetime, count: int, known: list[str], hours: int) -> list[Decision]:
    """Calls of the last ``hours``, or of the last minute: many by day, few at night, one in eight not accepted."""
    made: list[Decision] = []
    moments: list[datetime] = []
    while len(made) < count:
        moment = now - timedelta(seconds=chance.uniform(1, 3600 * hours - 60 if hours else 50))
        if hours and chance.random() > (0.12 if moment.hour < 7 or moment.hour > 20 else 0.9):
            continue
        luck = chance.random()
        result, reasons, risk = "ACCEPT", [], []
        if luck > 0.99:
            result, reasons, risk = "REJECT", ["REPLAY"], [{"code": "REPLAY", "score": 0.93}]
        elif luck > 0.985:
            risk = [{"code": "KNOWN_FRAUDSTER", "score": 0.71}]
        elif luck > 0.93:
            result = "REJECT"
        elif luck > 0.90:
            result, reasons = "INCONCLUSIVE", [chance.choice(["TOO_NOISY", "MORE_THAN_ONE_SPEAKER"])]
        elif luck > 0.87:
            result = "NOT_ENOUGH_SPEECH"
        ratio = chance.gauss(7, 2) if result == "ACCEPT" or reasons == ["REPLAY"] else chance.gauss(-5, 2)
        scored = result in ("ACCEPT", "REJECT")
        made.append(
            Decision(
                kind="identify" if luck < 0.03 else "verify",
                customer_id=chance.choice(known),
                decision="MATCH" if luck < 0.03 else result,
                reasons=reasons,
                fraud_risk={"level": "HIGH_RISK" if risk else "LOW_RISK", "reasons": risk},
                probability=1 / (1 + 2.718281828**-ratio) if scored else None,
                threshold=0.5 if scored else None,
                log_likelihood_ratio=ratio if scored else None,
                score=0.5 + ratio / 40 if scored else None,
                speech_seconds=chance.uniform(1, 2) if result == "NOT_ENOUGH_SPEECH" else chance.uniform(3.2, 9),
                snr_db=chance.gauss(21, 4),
                clipping_ratio=0.0,
                model_version=IN_SERVICE,
                model_fingerprint=IN_SERVICE[-6:] + "0" * 58,
                calibration_version="c1",
                tier=chance.choice(["", "", "balance", "transfer"]),
                caller=f"{chance.getrandbits(256):064x}",
                actor=chance.choice(["ivr-vienna", "ivr-graz", "app"]),
                scoring_milliseconds=chance.gauss(120, 15),
            )
        )
        moments.append(moment)
    Decision.objects.bulk_create(made)
    for each, moment in zip(made, moments, strict=True):
        each.created_at = moment
    Decision.objects.bulk_update(made, ["created_at"])
    return made


def replayed_call(customer: Customer, now: datetime) -> Decision:
    """A call that plays a part of the customer's enrollment."""
    risk = {"level": "HIGH_RISK", "reasons": [{"code": "REPLAY", "score": 0.9437}]}
    call = Decision.objects.create(
        kind="verify",
        customer_id=customer.customer_id,
        decision="REJECT",
        reasons=["REPLAY"],
        fraud_risk=risk,
        probability=0.9137,
        threshold=0.5,
        log_likelihood_ratio=7.4129,
        score=0.7231,
        speech_seconds=6.3,
        snr_db=19.4,
        enrollment_speech_seconds=31.4,
        clipping_ratio=0.0,
        model_version=IN_SERVICE,
        calibration_version="c1",
        model_fingerprint=IN_SERVICE[-6:] + "0" * 58,
        tier="transfer",
        caller="5c" * 32,
        actor="ivr-vienna",
        request_id="5f1c3a52-8f0e-4a53-9d0b-2f64a1c0e1b7",
        fallback="one-time code",
        scoring_milliseconds=131.0,
    )
    waveform = decode(recorded("enroll"))
    start, end = (int(seconds * waveform.sample_rate) for seconds in (REPLAYED_FROM, REPLAYED_FROM + 6.3))
    keep_audio(call, customer, wav(waveform.samples[start:end], waveform.sample_rate))
    return call


def review_cases(
    chance: random.Random,
    call: Decision,
    earlier: AudioSample,
    fraudster: Fraudster,
    decisions: list[Decision],
    customers: list[Customer],
) -> ReviewCase:
    kinds = ["REPLAY", "KNOWN_FRAUDSTER", "VELOCITY", "DUPLICATE_VOICE", "WATCHLIST_ENROLLMENT"]
    for number, kind in enumerate(kinds * 2):
        customer, evidence = customers[number + 2], {"reason": kind, "score": chance.uniform(0.7, 0.99)}
        evidence |= {"decision_id": str(decisions[number].pk)}
        if kind == "KNOWN_FRAUDSTER":
            evidence |= {"fraudster_id": str(fraudster.pk)}
        if kind == "VELOCITY":
            evidence |= {"customers": [LONG_ID, "C-101241", "C-101278"], "count": 4}
        case = cases.open_case(kind=kind, customer_id=customer.customer_id, evidence=evidence, actor=SYSTEM)
        if number < 6:
            cases.assign(number=case.number, to="user:rita", actor=SYSTEM)
        if number < 5:
            fraud = ("CONFIRMED_FRAUD", "The customer was in the branch at that time.")
            harmless = ("FALSE_ALARM", "The customer's answering machine.")
            resolution, comment = fraud if number % 2 else harmless
            cases.close(number=case.number, resolution=resolution, comment=comment, actor=RITA)
    evidence = {
        "reason": "REPLAY",
        "score": 0.9437,
        "decision_id": str(call.pk),
        "offset_seconds": REPLAYED_FROM,
        "stretches": [[0.3, 3.1], [4.0, 6.2]],
        "heard_in_sample": str(earlier.pk),
    }
    case = cases.open_case(kind="REPLAY", customer_id=call.customer_id, evidence=evidence, actor=SYSTEM)
    cases.assign(number=case.number, to="user:rita", actor=SYSTEM)
    cases.comment(
        number=case.number,
        text="Called the customer back: nobody of the family rang us.",
        actor=RITA,
    )
    return case


def approvals(now: datetime) -> Approval:
    given = {"expires_at": now + timedelta(hours=22)}
    Approval.objects.create(
        action="customer.export_audio",
        parameters={"customer_id": LONG_ID},
        state="APPROVED",
        decided_by="user:grace",
        decided_at=now,
        reason="A subject access request.",
        requested_by="user:rita",
        **given,
    )
    Approval.objects.create(
        action="model.force_promotion",
        parameters={"version": CHALLENGER, "reason": "Pilot in one branch."},
        reason="Pilot in one branch.",
        requested_by="user:grace",
        **given,
    )
    return Approval.objects.create(
        action="customer.export_audio",
        parameters={"customer_id": "C-101204"},
        reason="The police asks for the recordings in case 11.",
        requested_by="user:rita",
        **given,
    )


def webhooks(chance: random.Random, now: datetime) -> WebhookDelivery:
    address = "https://events.bank.example/hooks/voiceauth/decisions?tenant=retail-banking-eu-central"
    endpoint = WebhookEndpoint.objects.create(url=address, events=TYPES, created_by="user:grace")
    WebhookEndpoint.objects.create(
        url="https://fraud.bank.example/cases", events=list(TYPES)[:2], created_by="user:grace"
    )
    body = '{"type": "decision.made", "timestamp": "2026-11-26T18:50:00+00:00", "data": {"decision_id": "5f1c3a52"}}'
    for number in range(12):
        failed = number == 3
        delivery = endpoint.deliveries.create(
            type=chance.choice(TYPES),
            body=body,
            next_attempt_at=now,
            attempts=8 if failed else 1,
            state="FAILED" if failed else "DELIVERED",
            status=503 if failed else 200,
            error="The receiver answered 503." if failed else "",
            delivered_at=None if failed else now,
        )
    return delivery


def batch(now: datetime) -> BatchEnrollment:
    batch = BatchEnrollment.objects.create(
        content_hash="0" * 64,
        requested_by="teller-app",
        state="SUCCEEDED",
        total=1200,
        enrolled=1164,
        skipped=31,
        failed=5,
        line=1200,
        finished_at=now,
        progress_percent=100,
        client_token="migration-of-november",
    )
    for line, (code, message) in enumerate((("", ""), ("too_noisy", "The signal-to-noise ratio is 4.1 dB."))):
        BatchResult.objects.create(
            batch=batch,
            line=line + 1,
            customer_id=f"C-2001{line}",
            state="FAILED" if code else "ENROLLED",
            code=code,
            message=message,
            speech_seconds=28.1,
            accepted=0 if code else 2,
            seconds=1.2,
        )
    return batch


def clients(now: datetime) -> ApiClient:
    for number, (name, role) in enumerate(
        (("branch-teller-app", "teller"), ("ivr-vienna", "ivr"), ("ivr-graz", "ivr"), ("fraud-desk", "reviewer"))
    ):
        client = ApiClient.objects.create(
            name=name,
            role=role,
            token_hash=f"{number:064x}",
            issued_by="user:grace",
            last_used_at=now,
            expires_at=now + timedelta(days=12 + 60 * number),
        )
    return client


def trail(call: Decision) -> AuditEvent:
    with transaction.atomic():
        change(content={"verification": {"lock_after": 20}}, reason="the auditors asked", based_on=0, actor=SYSTEM)
        for each in Decision.objects.order_by("created_at")[:20]:
            event = record(
                action="decision.made",
                actor=Actor(name="ivr-vienna", role="ivr", ip_address="10.20.0.14"),
                customer_id=each.customer_id,
                target=f"decision:{each.pk}",
                model_version=IN_SERVICE,
                threshold=0.5,
                after={"decision": each.decision, "probability": 0.9871},
                data={"tier": "transfer", "policy": 1},
            )
    return event


def recalibration(model: ModelVersion, now: datetime) -> Recalibration:
    outcomes = [
        {
            "rate": 0.01,
            "probability": 0.5312,
            "ratio": 0.125,
            "accepted": 9312,
            "newly_accepted": 41,
            "newly_rejected": 9,
        },
        {
            "rate": 0.001,
            "probability": 0.9611,
            "ratio": 3.21,
            "accepted": 8977,
            "newly_accepted": 3,
            "newly_rejected": 306,
        },
    ]
    return Recalibration.objects.create(
        model=model,
        source="cases",
        state="SUCCEEDED",
        requested_by="user:grace",
        finished_at=now,
        progress_percent=100,
        target_far=0.01,
        parameters={"version": "4be0a1c92d11"},
        measured_on=asdict(
            MeasuredOn(target_trials=212, impostor_trials=377, speakers=190, strangers=False, source="review cases")
        ),
        found=[
            "trials: 212 target, 377 impostor, 190 speakers; 3 left out",
            "Cllr: 0.1210 under the calibration in force; cross-fitted over the speakers: 0.0934 (at best 0.0881)",
            "threshold: 0.5312 on the probability, log-likelihood ratio +0.125",
        ],
        preview={
            "days": 30,
            "total": 9801,
            "accepted": 9280,
            "outcomes": [each | {"in_force": each["rate"] == 0.01} for each in outcomes],
        },
    )
