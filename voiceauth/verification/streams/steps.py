"""What a streamed call needs of the database and of the workers. Each step runs on a thread; see ``endpoint``."""

import logging
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from rest_framework.exceptions import AuthenticationFailed

from enrollment.models import Customer
from mltraining import worker_client
from mltraining.messages import Recording
from voiceauth.platform.api import throttling
from voiceauth.platform.api.authentication import find_client, note_use
from voiceauth.platform.api.exceptions import Failure, InternalError, describe
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.api.permissions import MissingScope
from voiceauth.platform.api.refusals import record_refusal
from voiceauth.platform.api.serializers import rounded, rounded_probability, validated
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.policies import selectors as policies
from voiceauth.verification import services
from voiceauth.verification.messages import FOLLOW, CallFollowed, FollowCall
from voiceauth.verification.models import Decision
from voiceauth.verification.serializers import VerifyAnswer
from voiceauth.verification.streams import tickets
from voiceauth.verification.streams.serializers import TicketSerializer, VerifyStreamSerializer
from voiceauth.verification.streams.tickets import Claim, Fate

logger = logging.getLogger(__name__)

SCOPE = "calls:verify"
PATH = "/api/v1/stream"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A streamed call: its claim, and who asks."""

    stream_id: UUID
    client: ApiClient
    claim: Claim
    actor: Actor
    is_ticketed: bool
    needed_seconds: float  # of net speech, until it is answered


def admit(authorization: str, address: str) -> ApiClient | None:
    """Return the client of a handshake; ``None`` where it has no token and must show a ticket.

    Raises ``AuthenticationFailed``, ``MissingScope`` and ``Throttled``.
    """
    if not authorization:
        return None
    client = find_client(authorization)
    if client is None:
        throttling.admit_address(address)
        raise AuthenticationFailed("The token is not valid.")
    if not client.may(SCOPE):
        raise MissingScope(SCOPE)
    note_use(client)
    return client


def begin(client: ApiClient | None, parameters: dict[str, Any], actor: Actor) -> Call:
    """Begin a call by what its start message says: a claim, or a ticket in place of a token.

    Raises ``ValidationError``, ``InvalidTicket``, ``UnknownTier`` and ``Throttled``.
    """
    ticketed = client is None
    if client is None:
        given = validated(TicketSerializer, parameters)
        try:
            stream_id, client, claim = tickets.redeem(given["ticket"])
        except tickets.InvalidTicket:
            throttling.admit_address(actor.ip_address)
            raise
    else:
        throttling.admit_client(client, SCOPE)
        stream_id, claim = uuid4(), Claim(**validated(VerifyStreamSerializer, parameters))
    rules = policies.in_force()
    rules.tier(claim.tier)
    limits = rules.verification
    call = Call(
        stream_id=stream_id,
        client=client,
        claim=claim,
        actor=replace(actor, name=client.name, role=client.role),
        is_ticketed=ticketed,
        needed_seconds=max(limits.answer_after_seconds, limits.min_speech_seconds),
    )
    _note(call, "LISTENING")
    return call


def verify(call: Call, audio: bytes, encoding: str, at_least_seconds: float) -> tuple[Decision, dict[str, Any]]:
    """Decide, as an upload of ``audio`` is decided. Return the decision and what the caller is told.

    Raises ``MoreSpeechNeeded`` where the audio holds less net speech, and as ``services.verify`` does.
    """
    claim = call.claim
    decision = services.verify(
        customer_id=claim.customer_id,
        audio=audio,
        tier=claim.tier,
        caller=claim.caller,
        format=encoding,
        actor=call.actor,
        decision_id=call.stream_id,
        at_least_seconds=at_least_seconds,
    )
    return decision, dict(VerifyAnswer(decision).data)


def follow(call: Call, decision: Decision, audio: bytes, encoding: str, first_change: bool) -> dict[str, Any]:
    """Compare the latest part of a call that was decided. Return what the caller is told.

    The ``first_change`` of speaker goes to the trail. Where the decision hides its cause, the comparison is with the
    same decoy as before. Raises as ``services.verify`` does, though nothing is decided here.
    """
    rules = policies.in_force()
    customer = None if decision.told else Customer.objects.filter(customer_id=call.claim.customer_id).first()
    found: CallFollowed = worker_client.call(
        FOLLOW,
        FollowCall(
            recording=Recording(audio=audio, format=encoding),
            claimed=call.claim.customer_id,
            customer=customer.pk if customer else None,
            rules=services.one_voice(rules),
            target_far=rules.far_of(call.claim.tier),
        ),
        deadline_seconds=settings.VOICEAUTH_SCORING_DEADLINE_SECONDS,
    )
    if found.speaker_changed and first_change:
        with transaction.atomic():
            record(
                action="call.speaker_changed",
                actor=call.actor,
                customer_id=call.claim.customer_id,
                target=f"decision:{decision.pk}",
                data={"speech_seconds": found.speech_seconds},
            )
    ratio, probability = found.log_likelihood_ratio, found.probability
    return {
        "speech_seconds": rounded(found.speech_seconds),
        "log_likelihood_ratio": None if ratio is None else rounded(ratio),
        "probability": None if probability is None else rounded_probability(probability),
        "speaker_changed": found.speaker_changed,
    }


def refuse(error: BaseException, actor: Actor, call: Call | None) -> tuple[Failure, dict[str, Any]]:
    """Describe why a stream fails, and leave the refusal in the trail. Return it, and the error that is sent."""
    failure = describe(error)
    if failure.code == InternalError.code:
        logger.error("unexpected failure", exc_info=error)
    if getattr(error, "audited", True):
        record_refusal(
            failure,
            actor=lambda: call.actor if call else actor,
            customer_id=call.claim.customer_id if call else "",
            method="WEBSOCKET",
            path=PATH,
        )
    data = {key: value for key, value in failure.data.items() if key != "customer_id"}
    told = {"code": failure.code, "message": failure.message, "data": data, "request_id": actor.request_id}
    if call is not None:
        _note(call, "FAILED", told)
    return failure, told


def _note(call: Call, state: str, error: dict[str, Any] | None = None) -> None:
    if call.is_ticketed:
        tickets.note(call.stream_id, Fate(client=call.client.pk, state=state, error=error))
