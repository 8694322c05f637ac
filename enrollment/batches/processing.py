"""Carries out a batch enrollment in the training worker: a slice of it at a time, one customer after the other.

Each customer goes through the services that a teller's calls go through, so that gate, consent, encryption and audit
trail are the same. The trail names the requester, and has the job's id in place of the request's. Doing a customer
again changes nothing, so a job that lost its worker goes on at the line after the last one saved.

OVERWRITE adds the new recordings first. Only where they alone suffice to enroll are the earlier ones removed. Otherwise
the new ones are removed, and the customer is as before.
"""

import io
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.core.files.storage import Storage
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from enrollment import keys, samples, selectors
from enrollment import services as customers
from enrollment.batches import locations, manifest, services
from enrollment.batches.errors import CustomerErased, DuplicateCustomer, ManifestChanged, NewAudioInsufficient
from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.erasure import CUSTOMER_ERASED
from enrollment.errors import CustomerExists, CustomerLocked, DuplicateSample, OptedOut, SampleNotFound
from enrollment.models import AudioSample, Customer, customer_id_validator
from voiceauth.platform.audit import Actor
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.errors import DomainError
from voiceauth.platform.jobs import runner
from voiceauth.platform.jobs.errors import AttemptStopped, CancelRequested, GiveBack
from voiceauth.platform.jobs.patience import patiently
from voiceauth.platform.jobs.runner import Attempt

logger = logging.getLogger(__name__)

SLICE_SECONDS = 60.0  # then it is the turn of a promotion or a retrain that waits for the worker
SAVE_SECONDS = 1.0
MOST_UNSAVED = 200
RETRY_SECONDS = 2.0
UNAVAILABLE = 503  # nothing is wrong with the recording, so it is tried again

Result = BatchResult.State
Line = dict[str, Any]  # a valid line of the manifest
COUNTED = {  # the column of the job that counts a result
    Result.ENROLLED: "enrolled",
    Result.ENROLLING: "enrolling",
    Result.SKIPPED: "skipped",
    Result.FAILED: "failed",
}


def execute(
    batch_id: uuid.UUID,
    *,
    storage: Storage | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Carry out a job until it ends or its slice is over. Return false where it cannot be claimed.

    ``on_progress`` is called with the number of customers done, and of customers in all.
    """

    def carry_out(attempt: Attempt[BatchEnrollment]) -> None:
        _Slice(attempt, storage or locations.batch_storage(), on_progress).carry_out()

    return runner.run(BatchEnrollment, batch_id, carry_out)


@dataclass
class _Enrolled:
    """What became of a customer's recordings."""

    kept: list[AudioSample]  # recordings of the manifest that are in the customer's enrollment now
    refused: list[dict[str, str]]


class _Slice:
    """One attempt at a job. ``carry_out`` ends early, by ``GiveBack``, when the slice is over."""

    def __init__(
        self, attempt: Attempt[BatchEnrollment], storage: Storage, on_progress: Callable[[int, int], None]
    ) -> None:
        self.attempt, self.storage, self.on_progress = attempt, storage, on_progress
        self.batch = attempt.job
        self.actor = Actor(name=self.batch.requested_by, role=self.batch.requested_role, request_id=str(self.batch.id))
        self.unsaved: list[BatchResult] = []
        self.done = self.batch.done
        self.saved_at = self.began_at = time.monotonic()

    def carry_out(self) -> None:
        """Enroll customer after customer. Raises ``AttemptStopped``, and ``DomainError`` where the whole job fails."""
        with self._manifest() as file:
            survey = manifest.survey(file)
            if self.batch.manifest_hash not in ("", survey.sha256):
                raise ManifestChanged
            patiently(self.attempt.save, manifest_hash=survey.sha256, total=survey.total)
            self.began_at = time.monotonic()  # a long manifest is read again in every slice
            try:
                for entry in manifest.entries(file, after=self.batch.line):
                    self._check()
                    self.unsaved.append(patiently(self._result, entry))
                    self.done += 1
                    self.on_progress(self.done, survey.total)
            except (CancelRequested, GiveBack, DomainError):
                self._save()
                raise
        self._save()

    def _manifest(self) -> IO[bytes]:
        if self.batch.manifest:
            opened: IO[bytes] = locations.open_file(self.storage, self.batch.manifest)
            return opened
        return io.BytesIO(services.uploaded_manifest(self.batch))

    def _check(self) -> None:
        """Save results now and then, and keep the job ours. Raises ``AttemptStopped``."""
        if time.monotonic() - self.began_at > SLICE_SECONDS:
            raise GiveBack("slice_over", audited=False)
        if time.monotonic() - self.saved_at > SAVE_SECONDS or len(self.unsaved) >= MOST_UNSAVED:
            self._save()
        self.attempt.check()

    def _save(self) -> None:
        patiently(save_results, self.attempt, self.unsaved)
        self.unsaved, self.saved_at = [], time.monotonic()

    def _result(self, entry: manifest.Entry) -> BatchResult:
        """Carry out one line. What is wrong with the line or its customer becomes the ``code`` of the result."""
        began = time.monotonic()
        result = BatchResult(batch=self.batch, line=entry.line, customer_id=_customer_id(entry))
        try:
            self._customer(manifest.validated(entry), result)
        except DomainError as failure:
            result.state, result.code, result.message = Result.FAILED, failure.code, failure.detail
        except (AttemptStopped, OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("line %d of batch enrollment %s broke", entry.line, self.batch.id)
            result.state, result.code = Result.FAILED, "internal_error"
        result.message = result.message.replace("\0", "")[:500]
        result.seconds = round(time.monotonic() - began, 3)
        return result

    def _customer(self, line: Line, result: BatchResult) -> None:
        result.customer_id = line["customer_id"]
        for location in line["audio"]:
            locations.check(self.storage, location)
        self._require_first(line["customer_id"])
        if self._is_skipped(line["customer_id"]):
            result.state = Result.SKIPPED
            return
        customer = self._consenting(line)
        earlier = {sample.pk for sample in customer.samples.all()}
        enrolled = self._enrolled(customer, line)
        result.refused = enrolled.refused
        if not enrolled.kept:
            first = enrolled.refused[0]
            result.state, result.code, result.message = Result.FAILED, first["code"], first["message"]
            return
        earlier -= {sample.pk for sample in enrolled.kept}
        if earlier and self.batch.existing == BatchEnrollment.Existing.OVERWRITE:
            self._replace(customer, earlier, enrolled.kept)
        result.accepted = len(enrolled.kept)
        customer.refresh_from_db()
        result.speech_seconds = customer.speech_seconds
        done = customer.state == Customer.State.ENROLLED
        result.state = Result.ENROLLED if done else Result.ENROLLING
        if reasons := sorted({reason for sample in enrolled.kept for reason in sample.held_for}):
            result.code, result.message = "sample_held", f"Recordings are pending approval: {', '.join(reasons)}."

    def _require_first(self, customer_id: str) -> None:
        seen = any(result.customer_id == customer_id for result in self.unsaved)
        if seen or self.batch.results.filter(customer_id=customer_id).exists():
            raise DuplicateCustomer

    def _is_skipped(self, customer_id: str) -> bool:
        """Whether the customer was enrolled by somebody else than this job."""
        if self.batch.existing != BatchEnrollment.Existing.SKIP:
            return False
        customer = Customer.objects.filter(customer_id=customer_id, state=Customer.State.ENROLLED).first()
        return customer is not None and not self._ours(customer)

    def _ours(self, customer: Customer) -> set[uuid.UUID]:
        """Return the recordings in the customer's enrollment that this job has added."""
        return set(customer.samples.filter(request_id=str(self.batch.id)).values_list("pk", flat=True))

    def _consenting(self, line: Line) -> Customer:
        """Return the line's customer, with the line's consent; create the customer where there is none.

        A batch neither ends an opt-out nor undoes an erasure. Raises ``OptedOut``, ``CustomerLocked`` and
        ``CustomerErased``.
        """
        customer_id, consent = line["customer_id"], line["consent"]
        if not selectors.customers().filter(customer_id=customer_id).exists():
            with suppress(CustomerExists), transaction.atomic():  # another request created it, which is as good
                customers.create_customer(customer_id=customer_id, display_name=line["display_name"], actor=self.actor)
                erasures = Erasure.objects.filter(customer_id=customer_id, cause=CUSTOMER_ERASED)
                if erasures.filter(created_at__gte=self.batch.created_at).exists():
                    raise CustomerErased
        with transaction.atomic():
            customer = customers.locked(customer_id)
            if customer.state == Customer.State.OPTED_OUT:
                raise OptedOut
            if customer.state == Customer.State.LOCKED:
                raise CustomerLocked
            same = {"purpose": consent["purpose"], "text_version": consent["text_version"], "withdrawn_at": None}
            if not customer.consents.filter(**same).exists():
                customers.give_consent(customer_id=customer_id, **consent, actor=self.actor)
        return customer

    def _enrolled(self, customer: Customer, line: Line) -> _Enrolled:
        enrolled = _Enrolled([], [])
        try:
            for location in line["audio"]:
                try:
                    audio = locations.read_recording(self.storage, location)
                    enrolled.kept.append(self._enroll(customer, audio, line))
                except DomainError as failure:
                    refusal = {"location": location, "code": failure.code, "message": failure.detail[:200]}
                    enrolled.refused.append(refusal)
        except (CancelRequested, GiveBack):
            if self.batch.existing == BatchEnrollment.Existing.OVERWRITE:
                self._remove(customer, {sample.pk for sample in enrolled.kept} & self._ours(customer))
            raise
        return enrolled

    def _enroll(self, customer: Customer, audio: bytes, line: Line) -> AudioSample:
        """Return the sample of the recording: the one that exists already, or a new one.

        It tries again while no worker can score.
        """
        there = customer.samples.filter(sha256=keys.audio_hash(customer, audio))
        if sample := there.first():
            return sample
        while True:
            try:
                return samples.enroll_sample(
                    customer_id=customer.customer_id,
                    audio=audio,
                    origin=line["origin"],
                    channel=line["channel"],
                    format=line["format"],
                    actor=self.actor,
                )
            except DuplicateSample:  # another request enrolled it
                return there.get()
            except DomainError as failure:
                if failure.status != UNAVAILABLE:
                    raise
                time.sleep(failure.data.get("retry_after_seconds", RETRY_SECONDS))
                self._check()

    def _replace(self, customer: Customer, earlier: set[uuid.UUID], kept: list[AudioSample]) -> None:
        """Remove the earlier recordings. Raises ``NewAudioInsufficient``, and then nothing has changed."""
        counting = sum(sample.speech_seconds for sample in kept if not sample.held_for)
        if selectors.remaining_seconds(Customer(speech_seconds=counting)) > 0:
            self._remove(customer, {sample.pk for sample in kept} & self._ours(customer))
            raise NewAudioInsufficient
        self._remove(customer, earlier)

    def _remove(self, customer: Customer, pks: set[uuid.UUID]) -> None:
        for pk in pks:
            with suppress(SampleNotFound):  # removed already, which is as good
                samples.remove_sample(customer_id=customer.customer_id, sample_id=pk, actor=self.actor)


@transaction.atomic
def save_results(attempt: Attempt[BatchEnrollment], results: Sequence[BatchResult]) -> None:
    """Save the results of lines that are done. What was saved before is not saved again. Raises ``LeaseLost``."""
    if not results or not attempt.hold():
        return
    batch = BatchEnrollment.objects.get(pk=attempt.job.pk)
    new = [result for result in results if result.line > batch.line]
    if not new:
        return
    BatchResult.objects.bulk_create(new)
    for result in new:
        counted = COUNTED[Result(result.state)]
        setattr(batch, counted, getattr(batch, counted) + 1)
    batch.line, batch.lost_workers, batch.heartbeat_at = new[-1].line, 0, timezone.now()
    batch.progress_percent = round(100 * batch.done / batch.total, 1) if batch.total else 0.0
    batch.save(update_fields=["line", "lost_workers", "heartbeat_at", "progress_percent", *COUNTED.values()])


def _customer_id(entry: manifest.Entry) -> str:
    """Return the line's customer identifier; empty where it is not a valid one."""
    given = entry.content.get("customer_id", "") if isinstance(entry.content, dict) else ""
    try:
        customer_id_validator(given)
    except ValidationError:
        return ""
    return given if isinstance(given, str) else ""
