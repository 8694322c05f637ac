"""Services on batch enrollments: the state machine of ``BatchEnrollment``, each step with its audit event.

A worker holds a job by a ``Claim``, as it does a training run (``retraining.runs``). Every write names the claim,
so that a worker that was thought dead and wakes up again finds out, and changes nothing.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from enrollment.batches import locations
from enrollment.batches.errors import BatchFinished, BatchNotFound, ClientTokenReused
from enrollment.batches.models import BatchEnrollment, BatchResult, UploadedManifest
from voiceauth.platform import vault
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.jobs.leases import LOST_SECONDS, MOST_LOST_WORKERS, RESEND_SECONDS, Claim, Order, send_on_commit

State = BatchEnrollment.State
Outcome = BatchResult.Outcome
COUNTED = {
    Outcome.ENROLLED: "enrolled",
    Outcome.ENROLLING: "enrolling",
    Outcome.SKIPPED: "skipped",
    Outcome.FAILED: "failed",
}


def submit(
    *,
    manifest: str | bytes,
    existing: str = BatchEnrollment.Existing.SKIP,
    client_token: str | None = None,
    actor: Actor,
) -> BatchEnrollment:
    """A job, SUBMITTED, from a manifest's location in the storage or from its content; the queue is told.

    The first job where the caller repeats a ``client_token`` with the same content. Raises ``LocationRefused``, and
    ``ClientTokenReused`` where the content is another.
    """
    upload = manifest if isinstance(manifest, bytes) else None
    location = manifest if isinstance(manifest, str) else ""
    if upload is None:
        locations.check_name(location)
    asked = {"manifest": location if upload is None else hashlib.sha256(upload).hexdigest(), "existing": existing}
    content_hash = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    try:
        with transaction.atomic():
            batch = BatchEnrollment.objects.create(
                manifest=location,
                existing=existing,
                client_token=client_token,
                content_hash=content_hash,
                requested_by=actor.name,
                requested_role=actor.role,
            )
            if upload is not None:
                _keep_upload(batch, upload)
            _send(batch.id)
            record(action="batch_enrollment.submitted", actor=actor, target=_target(batch.id), after=asked)
    except IntegrityError:  # one_batch_a_client_token
        batch = BatchEnrollment.objects.get(requested_by=actor.name, client_token=client_token)
        if batch.content_hash != content_hash:
            raise ClientTokenReused from None
    return batch


@transaction.atomic
def submit_folder(*, folder: str, manifest: bytes, existing: str, actor: Actor) -> BatchEnrollment:
    """A job on a folder that only this machine sees; no worker is told. The one begun with the same content, if any."""
    digest = hashlib.sha256(manifest).hexdigest()
    asked = {"folder": folder, "manifest": digest, "existing": existing}
    content_hash = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    begun = BatchEnrollment.objects.filter(state__in=BatchEnrollment.OPEN, folder=folder, content_hash=content_hash)
    if batch := begun.first():
        return batch
    batch = BatchEnrollment.objects.create(
        folder=folder,
        existing=existing,
        content_hash=content_hash,
        requested_by=actor.name,
        requested_role=actor.role,
    )
    _keep_upload(batch, manifest)
    record(action="batch_enrollment.submitted", actor=actor, target=_target(batch.id), after=asked)
    return batch


def uploaded_manifest(batch: BatchEnrollment) -> bytes:
    """The manifest that came with the request."""
    return vault.unseal(vault.derived_key("batch-manifests"), bytes(batch.upload.content), f"manifest:{batch.id}")


def claim(batch_id: uuid.UUID) -> Claim | None:
    """SUBMITTED or IN_PROGRESS -> IN_PROGRESS, held. ``None`` where the job has ended, or it or another is held."""
    now = timezone.now()
    try:
        with transaction.atomic():
            rows = BatchEnrollment.objects.filter(id=batch_id, held=False, state__in=BatchEnrollment.OPEN)
            first = rows.filter(started_at=None).exists()
            if not rows.update(
                state=State.IN_PROGRESS,
                held=True,
                attempts=F("attempts") + 1,
                started_at=Coalesce("started_at", now),
                heartbeat_at=now,
            ):
                return None
            attempt = BatchEnrollment.objects.values_list("attempts", flat=True).get(id=batch_id)
            if first:
                record(action="batch_enrollment.started", actor=SYSTEM, target=_target(batch_id))
    except IntegrityError:
        return None  # one_batch_at_a_time: it waits for its turn
    return Claim(batch_id, attempt)


def heartbeat(held: Claim, **fields: Any) -> Order:
    """Say that the worker lives, save ``fields``, and hear what to do."""
    if not _held(held).update(heartbeat_at=timezone.now(), **fields):
        return Order.LET_GO
    return Order.CANCEL if _held(held).filter(cancel_requested=True).exists() else Order.GO_ON


@transaction.atomic
def save_results(held: Claim, results: Sequence[BatchResult]) -> Order:
    """The results of lines that are done, and a heartbeat. What was saved before is not saved again."""
    batch = _held(held).select_for_update().first()
    if batch is None:
        return Order.LET_GO
    new = [result for result in results if result.line > batch.line]
    if not new:
        return heartbeat(held)
    BatchResult.objects.bulk_create(new)
    counts = Counter(COUNTED[Outcome(result.outcome)] for result in new)
    changes = {name: F(name) + count for name, count in counts.items()}
    return heartbeat(held, line=new[-1].line, lost_workers=0, **changes)


def finish(held: Claim) -> None:
    """IN_PROGRESS -> COMPLETED, or COMPLETED_WITH_ERRORS where a customer FAILED."""
    errors = _held(held).filter(failed__gt=0).exists()
    _end(_held(held), State.COMPLETED_WITH_ERRORS if errors else State.COMPLETED)


def fail(held: Claim, *, code: str, message: str) -> None:
    """IN_PROGRESS -> FAILED: the job as a whole cannot go on."""
    _end(_held(held), State.FAILED, error_code=code, error_message=message[:500])


def cancelled(held: Claim) -> None:
    """IN_PROGRESS -> CANCELLED: the worker stopped, as asked."""
    _end(_held(held), State.CANCELLED)


@transaction.atomic
def let_go(held: Claim) -> None:
    """Still IN_PROGRESS, and whoever gets the message goes on."""
    if _held(held).update(held=False):
        _send(held.run_id)


def request_cancel(*, batch_id: uuid.UUID, actor: Actor) -> BatchEnrollment:
    """CANCELLED at once, or, where a worker is at it, after the customer that it is at.

    Raises ``BatchNotFound``, and ``BatchFinished`` for a job that has ended otherwise.
    """
    with transaction.atomic():
        batch = BatchEnrollment.objects.select_for_update().filter(id=batch_id).first()
        if batch is None:
            raise BatchNotFound
        if batch.state not in (*BatchEnrollment.OPEN, State.CANCELLED):
            raise BatchFinished(state=batch.state)
        if batch.state in BatchEnrollment.OPEN and not batch.cancel_requested:
            BatchEnrollment.objects.filter(id=batch_id).update(cancel_requested=True)
            record(action="batch_enrollment.cancel_requested", actor=actor, target=_target(batch_id))
        _end(BatchEnrollment.objects.filter(id=batch_id, held=False), State.CANCELLED, actor=actor)
        batch.refresh_from_db()
    return batch


def purge_results() -> int:
    """Deletes the results of jobs that ended long ago (VOICEAUTH_KEEP_BATCH_RESULTS_DAYS), how many; the jobs stay."""
    ended = timezone.now() - timedelta(days=settings.VOICEAUTH_KEEP_BATCH_RESULTS_DAYS)
    with transaction.atomic():
        count, _ = BatchResult.objects.filter(batch__finished_at__lte=ended).delete()
        if count:
            record(action="batch_results.purged", actor=SYSTEM, data={"count": count})
    return count


def recover() -> None:
    """The sweep: jobs whose worker died are let go, and the first in line is sent again."""
    longest_call = 2 * settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS  # of enroll_sample, between two heartbeats
    silent_since = timezone.now() - timedelta(seconds=LOST_SECONDS + longest_call)
    silent = BatchEnrollment.objects.filter(held=True, heartbeat_at__lt=silent_since)
    for batch in silent:
        _lose(batch, silent.filter(id=batch.id, attempts=batch.attempts))
    waiting, long_ago = _next(), timezone.now() - timedelta(seconds=RESEND_SECONDS)
    if waiting and (waiting.sent_at is None or waiting.sent_at < long_ago):
        _send(waiting.id)


def _next() -> BatchEnrollment | None:
    if BatchEnrollment.objects.filter(held=True).exists():
        return None
    return BatchEnrollment.objects.filter(state__in=BatchEnrollment.OPEN, folder="").order_by("created_at").first()


def _lose(batch: BatchEnrollment, rows: QuerySet[BatchEnrollment]) -> None:
    if batch.cancel_requested:
        _end(rows, State.CANCELLED)
    elif batch.lost_workers >= MOST_LOST_WORKERS:
        message = f"{batch.lost_workers + 1} workers in a row died at line {batch.line + 1} or soon after."
        _end(rows, State.FAILED, error_code="worker_lost", error_message=message)
    else:
        with transaction.atomic():
            if rows.update(held=False, lost_workers=F("lost_workers") + 1):
                record(action="batch_enrollment.worker_lost", actor=SYSTEM, target=_target(batch.id))


def _keep_upload(batch: BatchEnrollment, manifest: bytes) -> None:
    sealed = vault.seal(vault.derived_key("batch-manifests"), manifest, f"manifest:{batch.id}")
    UploadedManifest.objects.create(batch=batch, content=sealed)


def _send(batch_id: uuid.UUID) -> None:
    """Tell the training queue, unless the job is a folder's; a lost message is sent again by ``recover``."""
    if BatchEnrollment.objects.filter(id=batch_id, folder="").update(sent_at=timezone.now()):
        send_on_commit("batches.run", str(batch_id))


def _held(held: Claim) -> QuerySet[BatchEnrollment]:
    return BatchEnrollment.objects.filter(id=held.run_id, held=True, attempts=held.attempt)


def _end(rows: QuerySet[BatchEnrollment], state: str, *, actor: Actor = SYSTEM, **fields: Any) -> bool:
    """The one open row of ``rows`` ends in ``state``; its uploaded manifest goes; the event in the same transaction."""
    with transaction.atomic():
        batch = rows.filter(state__in=BatchEnrollment.OPEN).select_for_update().first()
        if batch is None:
            return False
        BatchEnrollment.objects.filter(id=batch.id).update(
            state=state, held=False, finished_at=timezone.now(), **fields
        )
        UploadedManifest.objects.filter(batch=batch).delete()
        counts = {name: getattr(batch, name) for name in ("total", *COUNTED.values())}
        record(
            action=f"batch_enrollment.{state.lower()}",
            actor=actor,
            outcome="failed" if state == State.FAILED else "success",
            target=_target(batch.id),
            after={"state": state, **fields},
            data=counts,
        )
        if waiting := _next():  # it need not wait for the sweep
            _send(waiting.id)
    return True


def _target(batch_id: uuid.UUID) -> str:
    return f"batch_enrollment:{batch_id}"
