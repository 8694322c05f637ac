"""Carrying a batch enrollment out in the training worker: a slice of it at a time, one customer after the other.

Each customer goes through the services that a teller's calls go through, so that gate, consent, encryption and trail
are the same; the trail names the requester, and the job in place of the request. Doing a customer again changes
nothing, so that a job which lost its worker goes on at the line after the last one saved.

OVERWRITE adds the new recordings first. Only where they alone suffice to enroll are the earlier ones removed; else
the new ones are, and the customer is as before.
"""

import enum
import io
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.core.files.storage import Storage
from django.db import InterfaceError, OperationalError, transaction

from enrollment import keys, samples, selectors
from enrollment import services as customers
from enrollment.batches import locations, manifest, services
from enrollment.batches.errors import CustomerErased, DuplicateCustomer, ManifestChanged, NewAudioInsufficient
from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.errors import CustomerExists, CustomerLocked, DuplicateSample, OptedOut, SampleNotFound
from enrollment.models import AudioSample, Customer, customer_id_validator
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import DomainError
from voiceauth.platform.jobs import shutdown
from voiceauth.platform.jobs.leases import Claim, Order
from voiceauth.platform.jobs.patience import patiently

logger = logging.getLogger(__name__)

SLICE_SECONDS = 60.0  # then a promotion or a retrain that waits for the worker has its turn
SAVE_SECONDS = 1.0
MOST_UNSAVED = 200
RETRY_SECONDS = 2.0
UNAVAILABLE = 503  # nothing is wrong with the recording: it is tried again

Outcome = BatchResult.Outcome
Line = dict[str, Any]  # a valid line of the manifest


def execute(
    batch_id: uuid.UUID,
    *,
    storage: Storage | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Carry a job on until it ends or its slice is over. False where it is not ours to claim.

    ``on_progress`` hears how many customers of how many are done.
    """
    held = patiently(lambda: services.claim(batch_id))
    if held is None:
        return False
    attempt = _Attempt(held, storage or locations.batch_storage(), on_progress)
    try:
        attempt.carry_out()
        patiently(lambda: services.finish(held))
    except _Stopped as stopped:
        why = stopped.why
        patiently(lambda: attempt.settle(why))
    except DomainError as failure:
        code, message = failure.code, failure.detail
        patiently(lambda: services.fail(held, code=code, message=message))
    except (OperationalError, InterfaceError):
        raise  # the sweep takes it up again
    except Exception as error:
        logger.exception("batch enrollment %s broke", batch_id)
        name = type(error).__name__
        patiently(lambda: services.fail(held, code="internal_error", message=name))
    except BaseException:  # Ctrl+C
        services.let_go(held)
        raise
    return True


class _Why(enum.Enum):
    """Why an attempt stops before the end of the job."""

    CANCELLED = "cancelled"
    LET_GO = "another worker has it"
    PAUSED = "the slice is over, or the worker shuts down"


class _Stopped(Exception):
    def __init__(self, why: _Why) -> None:
        self.why = why
        super().__init__(why.value)


@dataclass
class _Enrolled:
    """What became of a customer's recordings."""

    kept: list[AudioSample]  # of the manifest's, in the customer's enrollment now
    refused: list[dict[str, str]]


class _Attempt:
    def __init__(self, held: Claim, storage: Storage, on_progress: Callable[[int, int], None]) -> None:
        self.held, self.storage, self.on_progress = held, storage, on_progress
        self.batch = patiently(lambda: BatchEnrollment.objects.get(id=held.run_id))
        self.actor = Actor(name=self.batch.requested_by, role=self.batch.requested_role, request_id=str(self.batch.id))
        self.unsaved: list[BatchResult] = []
        self.done = self.batch.done
        self.saved_at = self.began_at = time.monotonic()

    def carry_out(self) -> None:
        """Raises ``_Stopped``, and a ``DomainError`` where the job as a whole fails."""
        with self._manifest() as file:
            survey = manifest.survey(file)
            if self.batch.manifest_hash not in ("", survey.sha256):
                raise ManifestChanged
            self._obey(patiently(lambda: self._begin(survey)))
            self.began_at = time.monotonic()  # a long manifest is read again in every slice
            for entry in manifest.entries(file, after=self.batch.line):
                self._check()
                self.unsaved.append(patiently(lambda entry=entry: self._result(entry)))  # type: ignore[misc]
                self.done += 1
                self.on_progress(self.done, survey.total)
        self._obey(self._save(), only=_Why.LET_GO)

    def settle(self, why: _Why) -> None:
        """What is done is saved; the state follows from why the attempt stopped."""
        if why is _Why.LET_GO or self._save() is Order.LET_GO:
            logger.warning("batch enrollment %s went to another worker", self.batch.id)
        elif why is _Why.CANCELLED:
            services.cancelled(self.held)
        else:
            services.let_go(self.held)

    def _manifest(self) -> IO[bytes]:
        if self.batch.manifest:
            opened: IO[bytes] = locations.open_file(self.storage, self.batch.manifest)
            return opened
        return io.BytesIO(services.uploaded_manifest(self.batch))

    def _begin(self, survey: manifest.Survey) -> Order:
        return services.heartbeat(self.held, manifest_hash=survey.sha256, total=survey.total)

    def _check(self) -> None:
        """Saves now and then, which beats the heart. Raises ``_Stopped`` where the attempt must end."""
        if shutdown.in_progress() or time.monotonic() - self.began_at > SLICE_SECONDS:
            raise _Stopped(_Why.PAUSED)
        if time.monotonic() - self.saved_at > SAVE_SECONDS or len(self.unsaved) >= MOST_UNSAVED:
            self._obey(self._save())

    def _save(self) -> Order:
        order = patiently(lambda: services.save_results(self.held, self.unsaved))
        self.unsaved, self.saved_at = [], time.monotonic()
        return order

    def _obey(self, order: Order, *, only: _Why | None = None) -> None:
        why = {Order.LET_GO: _Why.LET_GO, Order.CANCEL: _Why.CANCELLED}.get(order)
        if why and only in (None, why):
            raise _Stopped(why)

    def _result(self, entry: manifest.Entry) -> BatchResult:
        """One customer, done. Whatever is wrong with the line or the customer is the result's ``code``."""
        began = time.monotonic()
        result = BatchResult(batch=self.batch, line=entry.line, customer_id=_customer_id(entry))
        try:
            self._customer(manifest.validated(entry), result)
        except DomainError as failure:
            result.outcome, result.code, result.message = Outcome.FAILED, failure.code, failure.detail
        except (_Stopped, OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("line %d of batch enrollment %s broke", entry.line, self.batch.id)
            result.outcome, result.code = Outcome.FAILED, "internal_error"
        result.message = result.message.replace("\0", "")[:500]
        result.seconds = round(time.monotonic() - began, 3)
        return result

    def _customer(self, line: Line, result: BatchResult) -> None:
        result.customer_id = line["customer_id"]
        for location in line["audio"]:
            locations.check(self.storage, location)
        self._require_first(line["customer_id"])
        if self._is_skipped(line["customer_id"]):
            result.outcome = Outcome.SKIPPED
            return
        customer = self._consenting(line)
        earlier = {sample.pk for sample in customer.samples.all()}
        enrolled = self._enrolled(customer, line)
        result.refused = enrolled.refused
        if not enrolled.kept:
            first = enrolled.refused[0]
            result.outcome, result.code, result.message = Outcome.FAILED, first["code"], first["message"]
            return
        earlier -= {sample.pk for sample in enrolled.kept}
        if earlier and self.batch.existing == BatchEnrollment.Existing.OVERWRITE:
            self._replace(customer, earlier, enrolled.kept)
        result.accepted = len(enrolled.kept)
        customer.refresh_from_db()
        result.speech_seconds = customer.speech_seconds
        done = customer.state == Customer.State.ENROLLED
        result.outcome = Outcome.ENROLLED if done else Outcome.ENROLLING
        if reasons := sorted({reason for sample in enrolled.kept for reason in sample.held_for}):
            result.code, result.message = "sample_held", f"Recordings wait for a person: {', '.join(reasons)}."

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
        """The recordings in the customer's enrollment that this job has added."""
        return set(customer.samples.filter(request_id=str(self.batch.id)).values_list("pk", flat=True))

    def _consenting(self, line: Line) -> Customer:
        """The customer, there and with the line's consent. A batch neither ends an opt-out nor undoes an erasure."""
        customer_id, consent = line["customer_id"], line["consent"]
        if not selectors.customers().filter(customer_id=customer_id).exists():
            with suppress(CustomerExists), transaction.atomic():
                customers.create_customer(customer_id=customer_id, display_name=line["display_name"], actor=self.actor)
                erasures = AuditEvent.objects.filter(customer_id=customer_id, action="customer.erased")
                if erasures.filter(occurred_at__gte=self.batch.created_at).exists():
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
                    enrolled.kept.append(self._enroll(customer, audio, line["origin"], line["channel"]))
                except DomainError as failure:
                    refusal = {"location": location, "code": failure.code, "message": failure.detail[:200]}
                    enrolled.refused.append(refusal)
        except _Stopped as stopped:
            if stopped.why is not _Why.LET_GO and self.batch.existing == BatchEnrollment.Existing.OVERWRITE:
                self._remove(customer, {sample.pk for sample in enrolled.kept} & self._ours(customer))
            raise
        return enrolled

    def _enroll(self, customer: Customer, audio: bytes, origin: str, channel: str) -> AudioSample:
        """The sample of the recording, the one that there is or a new one; tried again while nobody can score."""
        there = customer.samples.filter(sha256=keys.audio_hash(customer, audio))
        if sample := there.first():
            return sample
        while True:
            try:
                return samples.enroll_sample(
                    customer_id=customer.customer_id, audio=audio, origin=origin, channel=channel, actor=self.actor
                )
            except DuplicateSample:  # enrolled this moment
                return there.get()
            except DomainError as failure:
                if failure.status != UNAVAILABLE:
                    raise
                time.sleep(failure.data.get("retry_after_seconds", RETRY_SECONDS))
                self._check()

    def _replace(self, customer: Customer, earlier: set[uuid.UUID], kept: list[AudioSample]) -> None:
        """Raises ``NewAudioInsufficient``, and then nothing has changed."""
        counting = sum(sample.speech_seconds for sample in kept if not sample.held_for)
        if selectors.remaining_seconds(Customer(speech_seconds=counting)) > 0:
            self._remove(customer, {sample.pk for sample in kept} & self._ours(customer))
            raise NewAudioInsufficient
        self._remove(customer, earlier)

    def _remove(self, customer: Customer, pks: set[uuid.UUID]) -> None:
        for pk in pks:
            with suppress(SampleNotFound):
                samples.remove_sample(customer_id=customer.customer_id, sample_id=pk, actor=self.actor)


def _customer_id(entry: manifest.Entry) -> str:
    """As the line has it, valid or not to be told."""
    given = entry.content.get("customer_id", "") if isinstance(entry.content, dict) else ""
    try:
        customer_id_validator(given)
    except ValidationError:
        return ""
    return given if isinstance(given, str) else ""
