"""Putting the voice of a call on a watchlist."""

from uuid import UUID

from voiceauth.platform.audit import Actor
from voiceauth.screening import watchlists
from voiceauth.screening.models import Fraudster
from voiceauth.verification import selectors
from voiceauth.verification.errors import NoCallAudio
from voiceauth.verification.models import CallAudio


def add_caller(
    *, watchlist_id: UUID, decision_id: UUID, note: str = "", another_person: bool = False, actor: Actor
) -> Fraudster:
    """Puts whoever called, when this decision was made, on a watchlist.

    Raises ``DecisionNotFound``, ``NoCallAudio`` and what ``watchlists.add_fraudster`` raises.
    """
    selectors.decision(decision_id)
    recording = CallAudio.objects.select_related("customer").filter(decision_id=decision_id).first()
    if recording is None:
        raise NoCallAudio
    return watchlists.add_fraudster(
        watchlist_id=watchlist_id,
        audio=selectors.call_audio(recording),
        note=note,
        source=f"decision:{decision_id}",
        another_person=another_person,
        actor=actor,
    )
