"""Acting on hits, and forgetting the voices of recent calls."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from voiceauth.platform.audit import Actor
from voiceauth.screening import cases, voiceprints
from voiceauth.screening.messages import Screening
from voiceauth.screening.models import RecentVoice, ReviewCase
from voiceauth.screening.risk import KNOWN_FRAUDSTER, Hit

Kind = ReviewCase.Kind


@transaction.atomic(savepoint=False)  # the caller gives up as well where this fails
def act_on(
    found: Screening,
    *,
    customer_id: str,
    evidence: Mapping[str, Any],
    enrolling: bool = False,
    actor: Actor,
) -> None:
    """Open a case for every hit, and remember the voice that was found.

    ``customer_id`` is the claimed one, empty where nobody was claimed: then the voice is not remembered. ``evidence``
    goes into every case: decision_id or sample_id. In a transaction of the caller's it comes after every other row and
    right before the caller's own event, because it writes to the trail.
    """
    if found.voice is not None and customer_id:
        voiceprints.store_recent(
            customer_id=customer_id,
            model_fingerprint=found.voice.model_fingerprint,
            vector=found.voice.vector,
            speech_seconds=found.speech_seconds,
        )
    filed = []
    in_order = sorted(found.hits, key=lambda each: (_kind(each, enrolling), _subject(each)))  # to lock cases in
    for hit in in_order:
        content = {**hit.evidence(), **evidence}
        case = cases.file(
            kind=_kind(hit, enrolling),
            customer_id=customer_id,
            evidence=content,
            subject=_subject(hit),
            among=hit.customers,
        )
        filed.append((case, content))
    for case, content in filed:
        cases.record_filed(case, content, actor)


def forget_voice(customer_id: str) -> None:
    """Delete the voices of calls that claimed the customer, as part of their erasure."""
    RecentVoice.objects.filter(customer_id=customer_id).delete()


def forget_recent() -> int:
    """Delete the voices of recent calls that are too old or too many, and return how many.

    Kept are the latest ``VOICEAUTH_VELOCITY_MAX_CALLS`` that are not older than ``VOICEAUTH_VELOCITY_HOURS``.
    """
    before = timezone.now() - timedelta(hours=settings.VOICEAUTH_VELOCITY_HOURS)
    count, _ = RecentVoice.objects.filter(created_at__lte=before).delete()
    newest = RecentVoice.objects.order_by("-created_at").values_list("created_at", flat=True)
    if oldest_kept := newest[settings.VOICEAUTH_VELOCITY_MAX_CALLS :].first():
        count += RecentVoice.objects.filter(created_at__lte=oldest_kept).delete()[0]
    return count


def _kind(hit: Hit, enrolling: bool) -> Kind:
    return Kind.WATCHLIST_ENROLLMENT if enrolling and hit.reason == KNOWN_FRAUDSTER else Kind(hit.reason)


def _subject(hit: Hit) -> str:
    """Return the fraudster or the other customer: cases of one kind about one customer differ in it."""
    return hit.fraudster_id or hit.customer_id or ""
