"""Services on batch enrollments: submit a manifest, cancel a job, delete old results."""

import hashlib
import json
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from enrollment.batches import locations, selectors
from enrollment.batches.errors import ClientTokenReused
from enrollment.batches.models import BatchEnrollment, BatchResult, UploadedManifest
from enrollment.models import Customer
from voiceauth.platform import vault
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.jobs import services as jobs


def submit(
    *,
    manifest: str | bytes,
    existing: str = BatchEnrollment.Existing.SKIP,
    client_token: str | None = None,
    actor: Actor,
) -> BatchEnrollment:
    """Queue a job from a manifest's location in the storage, or from its content.

    Return the first job where the caller repeats a ``client_token`` with the same content. Raises ``LocationRefused``,
    and ``ClientTokenReused`` where the content is another.
    """
    upload = manifest if isinstance(manifest, bytes) else None
    location = manifest if isinstance(manifest, str) else ""
    if upload is None:
        locations.check_name(location)
    asked = {"manifest": location if upload is None else hashlib.sha256(upload).hexdigest(), "existing": existing}
    try:
        return _enqueue(asked, upload, actor, manifest=location, existing=existing, client_token=client_token)
    except IntegrityError:  # one_batch_a_client_token
        batch = BatchEnrollment.objects.get(requested_by=actor.name, client_token=client_token)
        if batch.content_hash != _hash(asked):
            raise ClientTokenReused from None
        return batch


@transaction.atomic
def submit_folder(*, folder: str, manifest: bytes, existing: str, actor: Actor) -> BatchEnrollment:
    """Start a job on a folder that only this machine sees, which no worker is told about.

    Return the open job with the same content, if there is one.
    """
    asked = {"folder": folder, "manifest": hashlib.sha256(manifest).hexdigest(), "existing": existing}
    begun = BatchEnrollment.objects.filter(state__in=BatchEnrollment.OPEN, folder=folder, content_hash=_hash(asked))
    return begun.first() or _enqueue(asked, manifest, actor, folder=folder, existing=existing)


def request_cancel(*, batch_id: uuid.UUID, actor: Actor) -> BatchEnrollment:
    """Cancel a job at once, or, while a worker is at it, after the customer that it is at.

    Raises ``BatchNotFound``, and ``JobFinished`` for a job that has ended otherwise.
    """
    return jobs.request_cancel(selectors.batch(batch_id), actor=actor)


def purge_results() -> int:
    """Delete the results of jobs that ended VOICEAUTH_KEEP_BATCH_RESULTS_DAYS ago; return how many. The jobs stay."""
    ended = timezone.now() - timedelta(days=settings.VOICEAUTH_KEEP_BATCH_RESULTS_DAYS)
    with transaction.atomic():
        count, _ = BatchResult.objects.filter(batch__finished_at__lte=ended).delete()
        if count:
            record(action="batch_results.purged", actor=SYSTEM, data={"count": count})
    return count


def forget_customer(customer: Customer) -> dict[str, int]:
    """Delete what batch results say about a customer's recordings, as part of the erasure of the voice.

    The results still show that the line was carried out, as the audit trail does, until ``purge_results``.
    """
    BatchResult.objects.filter(customer_id=customer.customer_id).update(message="", refused=[], speech_seconds=0)
    return {}


def uploaded_manifest(batch: BatchEnrollment) -> bytes:
    """Return the manifest that came with the request."""
    return vault.unseal(vault.derived_key("batch-manifests"), bytes(batch.upload.content), f"manifest:{batch.id}")


@transaction.atomic
def _enqueue(asked: dict[str, str], upload: bytes | None, actor: Actor, **fields: Any) -> BatchEnrollment:
    batch = BatchEnrollment.objects.create(
        content_hash=_hash(asked), requested_by=actor.name, requested_role=actor.role, **fields
    )
    if upload is not None:
        sealed = vault.seal(vault.derived_key("batch-manifests"), upload, f"manifest:{batch.id}")
        UploadedManifest.objects.create(batch=batch, content=sealed)
    return jobs.enqueue(batch, actor=actor, after=asked)


def _hash(asked: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
