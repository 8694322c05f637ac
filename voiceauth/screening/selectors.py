"""Reads of watchlists and cases."""

from uuid import UUID

from django.db.models import Count, QuerySet

from voiceauth.platform import storage as audio_store
from voiceauth.screening import keys
from voiceauth.screening.errors import CaseNotFound, FraudsterNotFound, WatchlistNotFound
from voiceauth.screening.models import Fraudster, ReviewCase, Watchlist

Resolution = ReviewCase.Resolution


def watchlists() -> QuerySet[Watchlist]:
    """All watchlists with their ``fraudster_count``, the default one first."""
    return Watchlist.objects.annotate(fraudster_count=Count("fraudsters")).order_by("-is_default", "name")


def watchlist(watchlist_id: UUID) -> Watchlist:
    """Raises ``WatchlistNotFound``."""
    found = watchlists().filter(pk=watchlist_id).first()
    if found is None:
        raise WatchlistNotFound
    return found


def default_watchlist() -> Watchlist:
    """The one that is always there."""
    return watchlists().get(is_default=True)


def fraudsters(watchlist_id: UUID) -> QuerySet[Fraudster]:
    """Who is on a watchlist, the latest first. Raises ``WatchlistNotFound``."""
    return watchlist(watchlist_id).fraudsters.defer("data_key").prefetch_related("watchlists")


def fraudster(fraudster_id: UUID, *, locked: bool = False) -> Fraudster:
    """One fraudster, ``locked`` until the transaction ends. Raises ``FraudsterNotFound``."""
    rows = Fraudster.objects.select_for_update() if locked else Fraudster.objects.all()
    found = rows.filter(pk=fraudster_id).first()
    if found is None:
        raise FraudsterNotFound
    return found


def fraudster_audio(fraudster: Fraudster) -> bytes:
    """The recording as it was uploaded. Whoever plays it records that in the trail."""
    return keys.unseal_audio(fraudster, audio_store.read(fraudster.audio.content))


def cases() -> QuerySet[ReviewCase]:
    """All cases, the newest first."""
    return ReviewCase.objects.prefetch_related("comments")


def case(number: int) -> ReviewCase:
    """Raises ``CaseNotFound``."""
    found = cases().filter(number=number).first()
    if found is None:
        raise CaseNotFound
    return found


def labelled_trials() -> dict[UUID, bool]:
    """Decision -> whether the caller was the claimed customer, by what reviewers found out.

    Confirmed fraud is an impostor, a false alarm the customer. What two cases disagree about is left out, and so is a
    confirmed replay: there the voice is the customer's own.
    """
    labels: dict[UUID, set[bool]] = {}
    known = ReviewCase.objects.filter(resolution__in=[Resolution.CONFIRMED_FRAUD, Resolution.FALSE_ALARM])
    known = known.exclude(resolution=Resolution.CONFIRMED_FRAUD, kind=ReviewCase.Kind.REPLAY)
    for resolution, evidence in known.values_list("resolution", "evidence").iterator():
        for each in evidence:
            if "decision_id" in each:
                labels.setdefault(UUID(each["decision_id"]), set()).add(resolution == Resolution.FALSE_ALARM)
    return {decision: truth.pop() for decision, truth in labels.items() if len(truth) == 1}
