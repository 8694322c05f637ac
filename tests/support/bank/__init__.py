"""A bank on an ordinary day: made-up rows in every table that the dashboard shows, for pictures and for their checks.

No name is a person's. Identifiers are as long, and names as foreign, as the columns must bear.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from enrollment.batches.models import BatchEnrollment
from enrollment.models import AudioSample, ConsentText, Customer, Voiceprint
from mltraining.models import ModelVersion
from tests.support.bank import rows
from tests.support.customers import make_sample
from tests.support.rows import epoch_metrics, make_drift_report, make_run
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.webhooks.models import WebhookDelivery
from voiceauth.policies.models import PolicyVersion
from voiceauth.retraining.models import Recalibration, TrainingRun
from voiceauth.screening.models import Fraudster, ReviewCase, Watchlist
from voiceauth.verification.models import Decision, DriftReport

# Pages of the same parts as others: pictures are made of them, and a walk that takes its time may leave them out.
ALIKE = frozenset(
    {"customer-erase", "customer-lock", "decision-export", "approval-approve", "run-start", "trail-export"}
    | {"erasure", "client", "webhook", "event", "batch", "watchlist", "held-recording", "password"}
)


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The rows whose pages are worth opening."""

    customer: Customer
    replay: ReviewCase
    call: Decision
    model: ModelVersion
    challenger: ModelVersion
    run: TrainingRun
    fitted: Recalibration
    drift: DriftReport
    held: AudioSample
    approval: Approval
    batch: BatchEnrollment
    delivery: WebhookDelivery
    watchlist: Watchlist
    fraudster: Fraudster
    client: ApiClient
    event: AuditEvent
    erasure: Erasure

    @property
    def pages(self) -> dict[str, str]:
        """Each kind of page once: its name, and its path below ``/admin/``."""
        of = {
            "enrollment/customer": ("customer", self.customer),
            "verification/decision": ("decision", self.call),
            "enrollment/audiosample": ("held-recording", self.held),
            "batches/batchenrollment": ("batch", self.batch),
            "erasure/erasure": ("erasure", self.erasure),
            "screening/reviewcase": ("case", self.replay),
            "screening/watchlist": ("watchlist", self.watchlist),
            "screening/fraudster": ("fraudster", self.fraudster),
            "retraining/trainingrun": ("run", self.run),
            "retraining/recalibration": ("recalibration", self.fitted),
            "mltraining/modelversion": ("challenger", self.challenger),
            "verification/driftreport": ("drift-report", self.drift),
            "audit/auditevent": ("event", self.event),
            "approvals/approval": ("approval", self.approval),
            "policies/policyversion": ("policy", PolicyVersion.objects.get()),
            "api/apiclient": ("client", self.client),
            "webhooks/webhookendpoint": ("webhook", self.delivery.endpoint),
            "webhooks/webhookdelivery": ("delivery", self.delivery),
        }
        lists = {f"{name}-list": f"{model}/" for model, (name, _) in of.items()}
        rows = {name: f"{model}/{row.pk}/change/" for model, (name, row) in of.items()}
        asked = {
            f"{of[model][0]}-{action}": f"{model}/{of[model][1].pk}/do/{action}/"
            for model, action in (
                ("enrollment/customer", "erase"),
                ("enrollment/customer", "lock"),
                ("verification/decision", "export"),
                ("screening/watchlist", "add"),
                ("approvals/approval", "approve"),
                ("mltraining/modelversion", "recalibrate"),
            )
        } | {
            "run-start": "retraining/trainingrun/do/start/",
            "trail-export": "audit/auditevent/do/export/",
            "policy-change": "policies/policyversion/do/change/",
            "client-create": "api/apiclient/do/create/",
            "webhook-create": "webhooks/webhookendpoint/do/create/",
        }
        others = {
            "overview": "",
            "nobody-found": "enrollment/customer/?q=nobody-by-this-name",
            "batch-results": f"batches/batchresult/?batch__id__exact={self.batch.pk}",
            "model": f"mltraining/modelversion/{self.model.pk}/change/",
            "thresholds": f"mltraining/modelversion/{self.model.pk}/thresholds/?days=30&probability=0.9",
            "second-factor": "second-factor/",
            "password": "password_change/",
            "try": "../try",
        }
        return others | lists | rows | asked


def open_bank(calls: int, *, hours: int = 0) -> Bank:
    """Write the rows, with so many ``calls`` in the last ``hours``, or in the last minute.

    They are the same each time, but for their identifiers and the clock.
    """
    chance, now = random.Random(16), timezone.now()
    customers = list(rows.customers(chance, now))
    customer = customers[0]
    model, challenger = rows.models()
    earlier = make_sample(
        customer,
        audio=rows.recorded("enroll"),
        container="ogg",
        codec="opus",
        sample_rate=16000,
        duration_seconds=29.0,
        speech_seconds=24.6,
        snr_db=31.2,
    )
    make_sample(customer, 2, audio=rows.recorded("verify"), container="ogg", codec="opus", duration_seconds=7.9)
    held = make_sample(customers[3], 3, held_for=["APPROVAL", "COHESION"])
    make_sample(customers[4], 4, held_for=["REVIEW"])
    for each in customers[:3]:
        Voiceprint.objects.create(
            customer=each,
            model_fingerprint=model.fingerprint,
            content=b"",
            sample_count=2,
            speech_seconds=31.4,
            revision=1,
        )
    watchlist = Watchlist.objects.get(is_default=True)
    Watchlist.objects.create(name="Card fraud ring, autumn", description="Voices that three branches reported.")
    fraudster = Fraudster.objects.create(
        note="Asked for new cards under four names.",
        source="upload",
        data_key=b"",
        speech_seconds=22.4,
        created_by="user:rita",
        expires_at=now + timedelta(days=365),
    )
    fraudster.watchlists.add(watchlist)
    decisions = rows.decisions(chance, now, calls, [each.customer_id for each in customers], hours)
    call = rows.replayed_call(customer, now)
    replay = rows.review_cases(chance, call, earlier, fraudster, decisions, customers)
    run = make_run(progress_percent=46, model=None, created_at=now)
    make_run(
        state="SUCCEEDED",
        model=challenger,
        metrics=[epoch_metrics(epoch) for epoch in range(1, 16)],
        finished_at=now - timedelta(days=2),
        progress_percent=100,
        epoch=15,
    )
    make_run(state="FAILED", error_code="not_enough_speakers", error_message="A training needs at least 4 speakers.")
    approval = rows.approvals(now)
    delivery = rows.webhooks(chance, now)
    batch = rows.batch(now)
    client = rows.clients(now)
    erasure = Erasure.objects.create(
        state="SUCCEEDED",
        cause="customer.erased",
        subject=customer.pk,
        customer_id="C-100988",
        requested_by="teller-app",
        counts={"samples": 3, "voiceprints": 1},
        finished_at=now,
        progress_percent=100,
    )
    ConsentText.objects.create(
        version="2026-11", text="We keep your voice …", sha256="9f" * 32, created_by="user:grace"
    )
    event = rows.trail(call)
    return Bank(
        customer=customer,
        replay=replay,
        call=call,
        model=model,
        challenger=challenger,
        run=run,
        fitted=rows.recalibration(model, now),
        drift=make_drift_report(model),
        held=held,
        approval=approval,
        batch=batch,
        delivery=delivery,
        watchlist=watchlist,
        fraudster=fraudster,
        client=client,
        event=event,
        erasure=erasure,
    )
