"""Reads of decisions."""

from datetime import datetime
from uuid import UUID

from django.db.models import Max, Min, OuterRef, QuerySet, Subquery

from enrollment import keys
from enrollment.models import ConfirmedCall
from voiceauth.platform import storage as audio_store
from voiceauth.verification.errors import DecisionNotFound
from voiceauth.verification.models import CallAudio, Decision


def decisions() -> QuerySet[Decision]:
    """Select all decisions, the latest first, each with ``confirmed_by``: what confirmed a call that was added."""
    confirmed_by = ConfirmedCall.objects.filter(pk=OuterRef("pk")).values("method")
    return Decision.objects.annotate(confirmed_by=Subquery(confirmed_by)).order_by("-created_at", "id")


def of_model(found: QuerySet[Decision], version: str) -> QuerySet[Decision]:
    """Narrow a list to the calls that model ``version`` decided.

    They lie between its first and its last call, so whatever else narrows the list reads none outside that time.
    """
    of_version = Decision.objects.filter(model_version=version)
    ends = of_version.aggregate(first=Min("created_at"), last=Max("created_at"))
    if ends["first"] is None:
        return found.none()
    return found.filter(model_version=version, created_at__range=(ends["first"], ends["last"]))


def decision(decision_id: UUID) -> Decision:
    """Read one decision. Raises ``DecisionNotFound``."""
    found = decisions().filter(pk=decision_id).first()
    if found is None:
        raise DecisionNotFound
    return found


def decision_of(decision_id: UUID, *, actor: str) -> Decision | None:
    """Read the decision that an API client asked for; ``None`` where there is none."""
    return Decision.objects.filter(pk=decision_id, actor=actor).first()


def decided_by_score(version: str, *, since: datetime) -> QuerySet[Decision]:
    """Select the verifications since then that the score of model ``version`` alone decided.

    Replays, calls with a second voice, and hidden answers are none of them.
    """
    return Decision.objects.filter(
        model_version=version,
        created_at__gte=since,
        kind=Decision.Kind.VERIFY,
        decision__in=[Decision.Result.ACCEPT, Decision.Result.REJECT],
        reasons=[],
    )


def call_audio(recording: CallAudio) -> bytes:
    """Unseal the audio of a call. Whoever plays it must record that in the trail."""
    return keys.unseal_call(recording.customer, recording.decision_id, audio_store.read(recording.content))
