"""Services on watchlists and the fraudsters on them. Each is one transaction with its event."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count
from django.utils import timezone

from mltraining import selectors as models_in_service
from mltraining import worker_client
from mltraining.locks import lock_gallery
from mltraining.messages import Recording
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.policies import selectors as policies
from voiceauth.screening import keys, selectors, voiceprints
from voiceauth.screening.errors import (
    DefaultWatchlist,
    DuplicateFraudster,
    ModelChanged,
    NotEnoughFraudsterSpeech,
    WatchlistExists,
    WatchlistNotFound,
)
from voiceauth.screening.messages import ANALYSE_FRAUDSTER, AnalyseFraudster, FraudsterAnalysis
from voiceauth.screening.models import Fraudster, FraudsterAudio, Watchlist

DELETE_WATCHLIST = "watchlist.delete"
UPLOAD = "upload"


@dataclass(frozen=True, kw_only=True)
class FraudsterReceipt:
    """What was erased, and when."""

    receipt_id: UUID
    fraudster_id: UUID
    recordings: int
    voiceprints: int
    erased_at: datetime


@transaction.atomic
def create_watchlist(*, name: str, description: str = "", actor: Actor) -> Watchlist:
    """A further watchlist. Raises ``WatchlistExists``."""
    try:
        with transaction.atomic():
            watchlist = Watchlist.objects.create(name=name, description=description, created_by=actor.name)
    except IntegrityError as error:
        raise WatchlistExists from error
    record(action="watchlist.created", actor=actor, target=f"watchlist:{watchlist.pk}", after={"name": name})
    return watchlist


@transaction.atomic
def delete_watchlist(*, watchlist_id: UUID | str, actor: Actor) -> None:
    """Deletes a watchlist, and erases who is on no other one. Raises ``WatchlistNotFound``, ``DefaultWatchlist``."""
    watchlist = _locked(watchlist_id)
    if watchlist.is_default:
        raise DefaultWatchlist
    fraudsters = list(watchlist.fraudsters.select_for_update().values_list("pk", flat=True))
    elsewhere = Watchlist.objects.exclude(pk=watchlist.pk).filter(fraudsters__in=fraudsters)
    only_here = set(fraudsters) - set(elsewhere.values_list("fraudsters", flat=True))
    Fraudster.objects.filter(pk__in=only_here).delete()
    watchlist.delete()
    record(
        action="watchlist.deleted",
        actor=actor,
        target=f"watchlist:{watchlist_id}",
        before={"name": watchlist.name, "fraudsters": len(fraudsters)},
        data={"erased": sorted(map(str, only_here))},
    )


def request_deletion(*, watchlist_id: UUID, reason: str, actor: Actor) -> Approval:
    """Asks for ``delete_watchlist``, which somebody else must approve. Raises as it does."""
    if selectors.watchlist(watchlist_id).is_default:
        raise DefaultWatchlist
    parameters = {"watchlist_id": str(watchlist_id)}
    return approvals.request(action=DELETE_WATCHLIST, parameters=parameters, reason=reason, actor=actor)


def add_fraudster(
    *,
    watchlist_id: UUID,
    audio: bytes,
    channel: str = "",
    note: str = "",
    source: str = UPLOAD,
    another_person: bool = False,
    actor: Actor,
) -> Fraudster:
    """Puts the voice of a recording on a watchlist: sealed audio, voiceprint under the model in service.

    ``channel`` is needed where the recording's channels differ. ``source`` says where the recording is from.

    Raises ``WatchlistNotFound``; ``InvalidAudio``; ``NotEnoughFraudsterSpeech``; ``DuplicateFraudster`` for a voice
    that is known, unless it is ``another_person``; ``ScoringUnavailable``.
    """
    selectors.watchlist(watchlist_id)
    default_channel = policies.in_force().channel_of(actor.name)
    recording = Recording(audio=audio, channel=channel, default_channel=default_channel)
    for _ in range(2):  # the second time where a promotion came between the analysis and its storage
        heard = worker_client.call(
            ANALYSE_FRAUDSTER,
            AnalyseFraudster(recording=recording),
            deadline_seconds=settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS,
        )
        if heard.speech_seconds < settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS:
            limit = settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS
            raise NotEnoughFraudsterSpeech(speech_seconds=heard.speech_seconds, limit=limit)
        if heard.hits and not another_person:
            known = heard.hits[0]
            raise DuplicateFraudster(fraudster_id=known.fraudster_id, score=known.score)
        with transaction.atomic():
            lock_gallery(shared=True)
            active = models_in_service.active_model()
            heard_by = heard.embedding.model_fingerprint if heard.embedding else None
            if heard_by == (active.fingerprint if active else None):
                return _store(watchlist_id, audio, heard, note, source, actor)
    raise ModelChanged(retry_after_seconds=1)


@transaction.atomic
def list_fraudster(*, watchlist_id: UUID, fraudster_id: UUID, actor: Actor) -> Fraudster:
    """Puts a known fraudster on a further watchlist. Raises ``WatchlistNotFound`` and ``FraudsterNotFound``."""
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
def erase_fraudster(*, fraudster_id: UUID, actor: Actor) -> FraudsterReceipt:
    """Key, recording and voiceprints are gone, from every watchlist. Raises ``FraudsterNotFound``."""
    return _erase(selectors.fraudster(fraudster_id, locked=True), "fraudster.erased", actor)


def expire_fraudsters() -> int:
    """Erases those past ``expires_at``. One transaction each. Returns how many."""
    overdue = Fraudster.objects.filter(expires_at__lte=timezone.now())
    expired = 0
    for pk in list(overdue.values_list("pk", flat=True)):
        with transaction.atomic():
            fraudster = overdue.select_for_update().filter(pk=pk).first()
            if fraudster is not None:
                _erase(fraudster, "fraudster.expired", SYSTEM)
                expired += 1
    return expired


def _store(
    watchlist_id: UUID, audio: bytes, heard: FraudsterAnalysis, note: str, source: str, actor: Actor
) -> Fraudster:
    watchlist = _locked(watchlist_id)
    fraudster = Fraudster(
        note=note,
        source=source,
        speech_seconds=heard.speech_seconds,
        created_by=actor.name,
        expires_at=timezone.now() + timedelta(days=settings.VOICEAUTH_KEEP_FRAUDSTERS_DAYS),
    )
    fraudster.data_key = keys.new_fraudster_key(fraudster.pk)
    fraudster.save(force_insert=True)
    fraudster.watchlists.add(watchlist)
    recording = audio if heard.remainder is None else heard.remainder
    FraudsterAudio.objects.create(fraudster=fraudster, content=keys.seal_audio(fraudster, recording))
    if heard.embedding is not None:
        voiceprints.store(fraudster, heard.embedding.model_fingerprint, heard.embedding.vector)
    record(
        action="fraudster.added",
        actor=actor,
        target=f"fraudster:{fraudster.pk}",
        data={"watchlist": str(watchlist.pk), "source": source},
    )
    return fraudster


def _erase(fraudster: Fraudster, action: str, actor: Actor) -> FraudsterReceipt:
    counts = Fraudster.objects.filter(pk=fraudster.pk).aggregate(
        recordings=Count("audio", distinct=True), voiceprints=Count("voiceprints", distinct=True)
    )
    receipt = FraudsterReceipt(receipt_id=uuid.uuid4(), fraudster_id=fraudster.pk, erased_at=timezone.now(), **counts)
    before = {
        "source": fraudster.source,
        "watchlists": sorted(map(str, fraudster.watchlists.values_list("pk", flat=True))),
    }
    fraudster.delete()
    record(
        action=action,
        actor=actor,
        target=f"fraudster:{receipt.fraudster_id}",
        before=before,
        data={"receipt_id": str(receipt.receipt_id), **counts},
    )
    return receipt


def _locked(watchlist_id: UUID | str) -> Watchlist:
    watchlist = Watchlist.objects.select_for_update().filter(pk=watchlist_id).first()
    if watchlist is None:
        raise WatchlistNotFound
    return watchlist
