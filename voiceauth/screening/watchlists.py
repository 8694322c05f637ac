"""Services on watchlists and the fraudsters on them. Each is one transaction with its audit event."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from mltraining.messages import Embedding
from voiceauth.platform import storage
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure import services as erasures
from voiceauth.platform.erasure.journal import Entry
from voiceauth.platform.erasure.models import Erasure
from voiceauth.screening import keys, selectors, voiceprints
from voiceauth.screening.errors import (
    DefaultWatchlist,
    WatchlistExists,
    WatchlistNotFound,
)
from voiceauth.screening.models import Fraudster, FraudsterAudio, Watchlist

DELETE_WATCHLIST = "watchlist.delete"

WATCHLIST_DELETED = "watchlist.deleted"
FRAUDSTER_ERASED = "fraudster.erased"
FRAUDSTER_EXPIRED = "fraudster.expired"


@transaction.atomic
def create_watchlist(*, name: str, description: str = "", actor: Actor) -> Watchlist:
    """Create a watchlist. Raises ``WatchlistExists``."""
    try:
        with transaction.atomic():
            watchlist = Watchlist.objects.create(name=name, description=description, created_by=actor.name)
    except IntegrityError as error:
        raise WatchlistExists from error
    record(action="watchlist.created", actor=actor, target=f"watchlist:{watchlist.pk}", after={"name": name})
    return watchlist


@transaction.atomic
def delete_watchlist(*, watchlist_id: UUID | str, actor: Actor) -> None:
    """Delete a watchlist, and erase the fraudsters on no other one.

    Raises ``WatchlistNotFound`` and ``DefaultWatchlist``.
    """
    watchlist = _locked(watchlist_id)
    if watchlist.is_default:
        raise DefaultWatchlist
    fraudsters = list(watchlist.fraudsters.select_for_update().values_list("pk", flat=True))
    elsewhere = Watchlist.objects.exclude(pk=watchlist.pk).filter(fraudsters__in=fraudsters)
    only_here = set(fraudsters) - set(elsewhere.values_list("fraudsters", flat=True))
    with storage.collecting() as recordings:
        Fraudster.objects.filter(pk__in=only_here).delete()
    subject = watchlist.pk
    watchlist.delete()
    erasures.begin(
        cause=WATCHLIST_DELETED,
        subject=subject,
        recordings=recordings,
        counts={"fraudsters": len(only_here)},
        actor=actor,
    )
    record(
        action=WATCHLIST_DELETED,
        actor=actor,
        target=f"watchlist:{watchlist_id}",
        before={"name": watchlist.name, "fraudsters": len(fraudsters)},
        data={"erased": sorted(map(str, only_here))},
    )


def request_deletion(*, watchlist_id: UUID, reason: str, actor: Actor) -> Approval:
    """Request ``delete_watchlist``, which a second person must approve. Raises as it does."""
    if selectors.watchlist(watchlist_id).is_default:
        raise DefaultWatchlist
    parameters = {"watchlist_id": str(watchlist_id)}
    return approvals.request(action=DELETE_WATCHLIST, parameters=parameters, reason=reason, actor=actor)


@transaction.atomic
def add_fraudster(
    *,
    watchlist_id: UUID,
    audio: bytes,
    speech_seconds: float,
    embedding: Embedding | None,
    source: str,
    note: str = "",
    customer_id: str = "",
    actor: Actor,
) -> Fraudster:
    """Put the voice of an analysed recording on a watchlist: the sealed audio, and the embedding as its voiceprint.

    ``customer_id`` names the customer whose own voice it is; ``verification.fraudsters`` asks for a second person then.
    Raises ``WatchlistNotFound``.
    """
    watchlist = _locked(watchlist_id)
    fraudster = Fraudster(
        note=note,
        source=source,
        speech_seconds=speech_seconds,
        created_by=actor.name,
        expires_at=timezone.now() + timedelta(days=settings.VOICEAUTH_KEEP_FRAUDSTERS_DAYS),
    )
    fraudster.data_key = keys.new_fraudster_key(fraudster.pk)
    fraudster.save(force_insert=True)
    fraudster.watchlists.add(watchlist)
    FraudsterAudio.objects.create(fraudster=fraudster, content=keys.seal_audio(fraudster, audio))
    if embedding is not None:
        voiceprints.store(fraudster, embedding.model_fingerprint, embedding.vector)
    record(
        action="fraudster.added",
        actor=actor,
        customer_id=customer_id,
        target=f"fraudster:{fraudster.pk}",
        data={"watchlist": str(watchlist.pk), "source": source},
    )
    return fraudster


@transaction.atomic
def list_fraudster(*, watchlist_id: UUID, fraudster_id: UUID, actor: Actor) -> Fraudster:
    """Put a known fraudster on another watchlist. Raises ``WatchlistNotFound`` and ``FraudsterNotFound``."""
    watchlist = _locked(watchlist_id)
    fraudster = selectors.fraudster(fraudster_id, locked=True)
    fraudster.watchlists.add(watchlist)
    record(
        action="fraudster.listed",
        actor=actor,
        target=f"fraudster:{fraudster.pk}",
        data={"watchlist": str(watchlist.pk)},
    )
    return fraudster


@transaction.atomic
def erase_fraudster(*, fraudster_id: UUID, actor: Actor) -> Erasure:
    """Delete a fraudster's key, recording and voiceprints from every watchlist.

    The answer is the erasure of the recording, which is under way. Raises ``FraudsterNotFound``.
    """
    return _erase(selectors.fraudster(fraudster_id, locked=True), FRAUDSTER_ERASED, actor)


def expire_fraudsters() -> int:
    """Erase fraudsters past ``expires_at``, in one transaction each. Return how many."""
    overdue = Fraudster.objects.filter(expires_at__lte=timezone.now())
    expired = 0
    for pk in list(overdue.values_list("pk", flat=True)):
        with transaction.atomic():
            fraudster = overdue.select_for_update().filter(pk=pk).first()
            if fraudster is not None:
                _erase(fraudster, FRAUDSTER_EXPIRED, SYSTEM)
                expired += 1
    return expired


def _erase(fraudster: Fraudster, cause: str, actor: Actor) -> Erasure:
    """Delete the rows and the key, and begin the erasure of the recording. ``cause`` names the audit event."""
    before = {
        "source": fraudster.source,
        "watchlists": sorted(map(str, fraudster.watchlists.values_list("pk", flat=True))),
    }
    subject, known = fraudster.pk, fraudster.voiceprints.count()
    with storage.collecting() as recordings:
        fraudster.delete()
    counts = {"recordings": len(recordings), "voiceprints": known}
    erasure = erasures.begin(cause=cause, subject=subject, recordings=recordings, counts=counts, actor=actor)
    record(
        action=cause,
        actor=actor,
        target=f"fraudster:{subject}",
        before=before,
        data={"erasure_id": str(erasure.pk), **counts},
    )
    return erasure


def _locked(watchlist_id: UUID | str) -> Watchlist:
    watchlist = Watchlist.objects.select_for_update().filter(pk=watchlist_id).first()
    if watchlist is None:
        raise WatchlistNotFound
    return watchlist


def register_erasures() -> None:
    """Tell the journal how erasures of fraudsters are repeated after a restore."""
    journal.register(FRAUDSTER_ERASED, _erase_again)
    journal.register(FRAUDSTER_EXPIRED, _erase_again)
    journal.register(WATCHLIST_DELETED, _delete_again)


@transaction.atomic
def _erase_again(entry: Entry) -> None:
    fraudster = Fraudster.objects.select_for_update().filter(pk=entry.subject).first()
    if fraudster is not None:
        _erase(fraudster, entry.cause, SYSTEM)


def _delete_again(entry: Entry) -> None:
    if Watchlist.objects.filter(pk=entry.subject).exists():
        delete_watchlist(watchlist_id=entry.subject, actor=SYSTEM)
