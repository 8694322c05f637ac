"""A voiceprint that grows: calls that another factor confirmed, added to the enrolled recordings, and removed again.

Such a call becomes a recording of the customer, kept and embedded like an enrolled one, with its decision and the
method as its provenance. It passes the enrollment gate under the limits of the origin ``confirmed_call``, is compared
with the enrolled recordings alone, and weighs no more than they do (``voiceprints.weights``). The voice's own word
never adds anything: ``verification.confirmations`` says which decisions may be confirmed.
"""

from uuid import UUID

from django.db import transaction

from enrollment import samples, selectors
from enrollment.errors import ConfirmationNotFound
from enrollment.models import AudioSample, ConfirmedCall, Customer
from enrollment.services import locked
from mltraining.locks import lock_gallery
from mltraining.messages import Recording
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.policies import selectors as policies

ORIGIN = "confirmed_call"


def add_call(*, customer_id: str, decision_id: UUID, audio: bytes, method: str, actor: Actor) -> AudioSample:
    """Add the kept ``audio`` of a call, whose caller ``method`` has confirmed, to the customer's recordings.

    One whose voice is not sure enough is held for a reviewer. A further call takes the place of the oldest where there
    are as many as the policy allows. Raises as ``samples.enroll_sample`` does, and ``AlreadyConfirmed``.
    """
    call = ConfirmedCall(decision_id=decision_id, method=method)
    recording = Recording(audio=audio)  # only what counted of the call was kept
    return samples.add(customer_id=customer_id, recording=recording, origin=ORIGIN, call=call, actor=actor)


@transaction.atomic
def revoke_call(*, decision_id: UUID, actor: Actor) -> Customer:
    """Remove a call from the voiceprint, for good. Raises ``ConfirmationNotFound``."""
    lock_gallery(shared=True)
    call = ConfirmedCall.objects.filter(pk=decision_id).select_related("customer").first()
    if call is None:
        raise ConfirmationNotFound
    customer = locked(call.customer.customer_id)
    sample = AudioSample.objects.filter(confirmation=decision_id).first()
    if sample is None:
        raise ConfirmationNotFound
    samples.remove(customer, [sample], actor=actor)
    return customer


def expire_calls() -> int:
    """Remove the calls that are older, or more, than the policy in force allows. Return how many."""
    rules, expired = policies.in_force().enrichment, 0
    for customer_id in sorted(selectors.customers_with_excess_calls(rules)):
        with transaction.atomic():
            lock_gallery(shared=True)
            customer = locked(customer_id)
            excess = selectors.excess_calls(customer, rules)
            samples.remove(customer, excess, actor=SYSTEM)
            expired += len(excess)
    return expired
