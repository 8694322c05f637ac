"""The audio of verifications: kept for a while under the claimed customer's key, purged and erased."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from enrollment import keys
from enrollment.models import Customer
from enrollment.selectors import has_consent
from voiceauth.platform.api.idempotency import purge_answers
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.verification.models import CallAudio, Decision


def keep(decision: Decision, customer: Customer, audio: bytes) -> None:
    """Keep the audio of a call for ``VOICEAUTH_KEEP_CALL_AUDIO_DAYS``, where the customer consents."""
    days = settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS
    if days and has_consent(customer):
        CallAudio.objects.create(
            decision=decision,
            customer=customer,
            content=keys.seal_call(customer, decision.pk, audio),
            expires_at=decision.created_at + timedelta(days=days),
        )


@transaction.atomic
def purge_expired() -> int:
    """Delete call recordings past their time, and answers kept for repeated requests. Return how many recordings."""
    count, _ = CallAudio.objects.filter(expires_at__lte=timezone.now()).delete()
    purge_answers()
    if count:
        record(action="call_audio.purged", actor=SYSTEM, data={"count": count})
    return count


def forget_customer(customer: Customer) -> dict[str, int]:
    """Delete the audio of the customer's calls: a part of their erasure. Decisions stay."""
    count, _ = CallAudio.objects.filter(customer=customer).delete()
    return {"call_recordings": count}
