"""Putting voices on watchlists: of a recording, or of the caller of a decision.

A customer's own voice needs a second person, because the watchlist would turn the customer's calls into suspicions.
The request is answered with an approval; once that is approved, the same request by the same actor goes through.
"""

from hashlib import sha256
from uuid import UUID

from django.conf import settings
from django.db import transaction

from enrollment.errors import NotEnoughSpeech
from mltraining import selectors as models
from mltraining import worker_client
from mltraining.errors import ModelSwitched
from mltraining.locks import lock_gallery
from mltraining.messages import Recording
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor
from voiceauth.policies import selectors as policies
from voiceauth.screening import watchlists
from voiceauth.screening.errors import CustomersVoice, DuplicateFraudster
from voiceauth.screening.models import Fraudster
from voiceauth.screening.risk import REPLAY
from voiceauth.screening.selectors import watchlist
from voiceauth.verification import selectors
from voiceauth.verification.errors import NoAudio
from voiceauth.verification.messages import ANALYSE_FRAUDSTER, AnalyseFraudster, FraudsterAnalysis
from voiceauth.verification.models import CallAudio, Decision

ADD_CUSTOMERS_VOICE = "fraudster.add_customers_voice"


def register_actions() -> None:
    """Register what needs a second person."""
    registry.register(
        registry.Action(
            name=ADD_CUSTOMERS_VOICE,
            label="Put a customer's own voice on a watchlist",
            approvers=roles_with("watchlists:write"),
        )
    )


def add_recording(
    *,
    watchlist_id: UUID,
    audio: bytes,
    channel: str = "",
    format: str = "",
    note: str = "",
    another_person: bool = False,
    reason: str = "",
    actor: Actor,
) -> Fraudster | Approval:
    """Put the voice of an uploaded recording on a watchlist, or ask for approval where it is a customer's.

    ``channel`` is needed where the recording's channels differ, ``format`` where it has no header. ``another_person``
    says that it is not the known fraudster who sounds like it. ``reason`` asks for a second person's approval where one
    is needed.

    Raises ``WatchlistNotFound``; ``InvalidAudio``; ``NotEnoughSpeech``; ``DuplicateFraudster``;
    ``CustomersVoice`` for a customer's voice without a ``reason``; ``ModelSwitched`` and ``ScoringUnavailable``.
    """
    default_channel = policies.in_force().channel_of(actor.name)
    recording = Recording(audio=audio, channel=channel, default_channel=default_channel, format=format)
    return _add(recording, "upload", "", watchlist_id, note, another_person, reason, actor)


def add_caller(
    *,
    watchlist_id: UUID,
    decision_id: UUID,
    note: str = "",
    another_person: bool = False,
    reason: str = "",
    actor: Actor,
) -> Fraudster | Approval:
    """Put the voice of the call that a decision was about on a watchlist, or ask for approval.

    Raises ``DecisionNotFound``, ``NoAudio``, and what ``add_recording`` raises.
    """
    decision = selectors.decision(decision_id)
    kept = CallAudio.objects.select_related("customer").filter(decision_id=decision_id).first()
    if kept is None:
        raise NoAudio
    recording = Recording(audio=selectors.call_audio(kept))  # only the customer's channel was kept
    claimed = decision.customer_id if _is_own_voice(decision) else ""
    return _add(recording, f"decision:{decision_id}", claimed, watchlist_id, note, another_person, reason, actor)


def _add(
    recording: Recording,
    source: str,
    claimed: str,  # the customer whose voice it is known to be
    watchlist_id: UUID,
    note: str,
    another_person: bool,
    reason: str,
    actor: Actor,
) -> Fraudster | Approval:
    watchlist(watchlist_id)
    for _ in range(2):  # retry once: a promotion may have switched the model between the analysis and its storage
        heard = worker_client.call(
            ANALYSE_FRAUDSTER,
            AnalyseFraudster(recording=recording),
            deadline_seconds=settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS,
        )
        _check(heard, another_person)
        customer_id = claimed or _customer_heard(heard)
        request = {
            "watchlist_id": str(watchlist_id),
            "customer_id": customer_id,
            "source": source,
            "sha256": sha256(recording.audio).hexdigest(),
            "channel": recording.channel,
        }
        with transaction.atomic():
            lock_gallery(shared=True)
            active = models.active_model()
            if (heard.embedding and heard.embedding.model_fingerprint) != (active and active.fingerprint):
                continue
            if customer_id and not approvals.redeem_same(action=ADD_CUSTOMERS_VOICE, parameters=request, actor=actor):
                if not reason:
                    raise CustomersVoice(customer_id=customer_id)
                return approvals.request(action=ADD_CUSTOMERS_VOICE, parameters=request, reason=reason, actor=actor)
            return watchlists.add_fraudster(
                watchlist_id=watchlist_id,
                audio=recording.audio if heard.remainder is None else heard.remainder,
                speech_seconds=heard.speech_seconds,
                embedding=heard.embedding,
                source=source,
                note=note,
                customer_id=customer_id,
                actor=actor,
            )
    raise ModelSwitched(retry_after_seconds=1)


def _check(heard: FraudsterAnalysis, another_person: bool) -> None:
    limit = settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS
    if heard.speech_seconds < limit:
        raise NotEnoughSpeech(report={"speech_seconds": heard.speech_seconds}, limit=limit)
    if heard.hits and not another_person:
        raise DuplicateFraudster(fraudster_id=heard.hits[0].fraudster_id, score=heard.hits[0].score)


def _customer_heard(heard: FraudsterAnalysis) -> str:
    """Return the customer whom screening would take for this fraudster; empty where there is none.

    The threshold is the watchlist's own, but it does not grow with the number of customers: an approval too many costs
    less than a customer on a watchlist.
    """
    customer = heard.customer
    if customer is None or customer.log_likelihood_ratio < settings.VOICEAUTH_WATCHLIST_THRESHOLD:
        return ""
    return customer.name


def _is_own_voice(decision: Decision) -> bool:
    """Tell whether the decision itself speaks for the claimed customer's voice, even where the call was refused.

    It does where the call was accepted, where the voice was likelier the customer's than a stranger's, and where the
    recording was a replay, which is the customer's voice from another device.
    """
    if decision.decision == Decision.Result.ACCEPT or (decision.log_likelihood_ratio or 0.0) > 0:
        return True
    return any(reason["code"] == REPLAY for reason in decision.fraud_risk.get("reasons", ()))
