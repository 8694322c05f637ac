"""Fraudsters and calls, as the services and the worker make them."""

from typing import Any
from uuid import UUID

from mltraining import recordings, scorer
from mltraining.messages import Recording
from tests.support.customers import IVR
from tests.support.stand_in import recording
from voiceauth.platform.audit import Actor
from voiceauth.screening import selectors, services, watch
from voiceauth.screening.messages import Screening
from voiceauth.screening.models import Fraudster, Watchlist
from voiceauth.screening.risk import fraud_risk
from voiceauth.verification import fraudsters

RITA = Actor(name="user:rita", role="reviewer")


def default() -> Watchlist:
    return selectors.default_watchlist()


def watched(voice: str, *, watchlist_id: UUID | None = None) -> Fraudster:
    """A fraudster of that voice, on the default watchlist unless told otherwise. Needs ``worker``."""
    made = fraudsters.add_recording(
        watchlist_id=watchlist_id or default().pk, audio=recording(voice, take=0), actor=RITA
    )
    assert isinstance(made, Fraudster)
    return made


def screened(voice: str, *, customer_id: str | None, take: int = 1, **measured: Any) -> Screening:
    """What the worker finds out about a call in that voice. Needs ``worker``."""
    model = scorer.active_model()
    assert model is not None
    analysis = recordings.analyse(Recording(audio=recording(voice, take, **measured)))
    return watch.screen(recordings.voice_of(analysis, model), customer_id=customer_id)


def called(voice: str, customer_id: str, *, take: int = 1, **evidence: Any) -> dict[str, Any]:
    """A call in that voice that claims ``customer_id``, screened and acted on: its fraud_risk."""
    found = screened(voice, customer_id=customer_id, take=take)
    services.act_on(found, customer_id=customer_id, evidence=evidence, actor=IVR)
    return fraud_risk(found.hits)
