"""Reads of watchlists and cases."""

from uuid import UUID

from django.db.models import Count, QuerySet

from voiceauth.platform import storage as audio_store
from voiceauth.screening import keys
from voiceauth.screening.errors import CaseNotFound, FraudsterNotFound, WatchlistNotFound
from voiceauth.screening.models import Fraudster, ReviewCase, Watchlist

Resolution = ReviewCase.Resolution


def watchlists() -> QuerySet[Watchlist]:
    """Select all watchlists with their ``fraudster_count``, the default one first."""
    return Watchlist.objects.annotate(fraudster_count=Count("fraudsters")).order_by("-is_default", "name")


def watchlist(watchlist_id: UUID) -> Watchlist:
    """Return one watchlist. Raises ``WatchlistNotFound``."""
    found = watchlists().filter(pk=watchlist_id).first()
    if found is None:
        raise WatchlistNotFound
    return found


def default_watchlist() -> Watchlist:
    """Return the default watchlist, which is always there."""
    return watchlists().get(is_default=True)


def fraudsters(watchlist_id: UUID) -> QuerySet[Fraudster]:
    """Select the fraudsters on a watchlist, the latest first. Raises ``WatchlistNotFound``."""
    return watchlist(watchlist_id).fraudsters.defer("data_key").prefetch_related("watchlists")


def fraudster(fraudster_id: UUID, *, locked: bool = False) -> Fraudster:
    """Return one fraudster, ``locked`` until the transaction ends. Raises ``FraudsterNotFound``."""
    rows = Fraudster.objects.select_for_update() if locked else Fraudster.objects.all()
    found = rows.filter(pk=fraudster_id).first()
    if found is None:
        raise FraudsterNotFound
    return found


def fraudster_audio(fraudster: Fraudster) -> bytes:
    """Return a fraudster's recording as it was stored. Whoever plays it records that in the trail."""
    return keys.unseal_audio(fraudster, audio_store.read(fraudster.audio.content))


def cases() -> QuerySet[ReviewCase]:
    """Select all cases, the newest first."""
    return ReviewCase.objects.prefetch_related("comments")


def case(number: int) -> ReviewCase:
    """Return one case. Raises ``CaseNotFound``."""
    found = cases().filter(number=number).first()
    if found is None:
        raise CaseNotFound
    return found


def labelled_trials() -> dict[UUID, bool]:
    """Return for each decision of a closed case whether the caller was the claimed customer.

    Confirmed fraud means an impostor, a false alarm the customer. A decision that two cases disagree about is left
    out, and so is a confirmed replay, because its voice is the customer's own.
    """
    labels: dict[UUID, set[bool]] = {}
    known = ReviewCase.objects.filter(resolution__in=[Resolution.CONFIRMED_FRAUD, Resolution.FALSE_ALARM])
    known = known.exclude(resolution=Resolution.CONFIRMED_FRAUD, kind=ReviewCase.Kind.REPLAY)
    for resolution, evidence in known.values_list("resolution", "evidence").iterator():
        for each in evidence:
            if "decision_id" in each:
                labels.setdefault(UUID(each["decision_id"]), set()).add(resolution == Resolution.FALSE_ALARM)
    return {decision: truth.pop() for decision, truth in labels.items() if len(truth) == 1}
