"""Trying the service with one's own voice: for at most a day, a signed-in person is a customer of their own.

Everything that a trial does goes through the services that a bank's systems call, so that the page shows what they
would get. Only the consent differs: its purpose is ``trial``, which no training reads.
"""

from datetime import timedelta

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet
from django.utils import timezone

from enrollment import samples, services
from enrollment.models import AudioSample, Consent, Customer
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.verification import services as verification
from voiceauth.verification.models import Decision

Person = AbstractBaseUser | AnonymousUser  # the views let in nobody who is anonymous
TEXT_VERSION = "trial-1"  # of the text in the template ``review/try.html``
KEPT_HOURS = 24


def trial_id(user: Person) -> str:
    """Return the identifier of a person's trial customer."""
    return f"try:{user.pk}"


def trial_of(user: Person) -> Customer | None:
    """Return the trial customer of a person who agreed to try; ``None`` before that and after forgetting."""
    return _trials().filter(customer_id=trial_id(user)).first()


def agree(user: Person, *, actor: Actor) -> None:
    """Create the person's trial customer, with the consent. Raises ``CustomerExists``."""
    customer_id = trial_id(user)
    services.create_customer(customer_id=customer_id, display_name=f"Trial of {user.get_username()}"[:128], actor=actor)
    services.give_consent(
        customer_id=customer_id,
        purpose=Consent.Purpose.TRIAL,
        text_version=TEXT_VERSION,
        origin="web",
        actor=actor,
    )


def enroll(user: Person, audio: bytes, *, actor: Actor) -> AudioSample:
    """Enroll a recording of the person. Raises as ``enroll_sample`` does."""
    return samples.enroll_sample(customer_id=trial_id(user), audio=audio, actor=actor)


def verify(user: Person, audio: bytes, *, actor: Actor) -> Decision:
    """Decide whether a recording is the voice that the person enrolled. Raises as ``verification.verify`` does."""
    return verification.verify(customer_id=trial_id(user), audio=audio, actor=actor)


def forget(user: Person, *, actor: Actor) -> None:
    """Erase the person's trial customer with all recordings and voiceprints. Raises ``CustomerNotFound``."""
    services.erase_customer(customer_id=trial_id(user), actor=actor)


def forget_old() -> int:
    """Erase the trials that are older than ``KEPT_HOURS``. Return how many."""
    old = list(_trials().filter(created_at__lt=timezone.now() - timedelta(hours=KEPT_HOURS)))
    for customer in old:
        services.erase_customer(customer_id=customer.customer_id, actor=SYSTEM)
    return len(old)


def _trials() -> "QuerySet[Customer]":
    agreed = Consent.objects.filter(purpose=Consent.Purpose.TRIAL, withdrawn_at=None)
    return Customer.objects.filter(pk__in=agreed.values("customer")).exclude(state=Customer.State.ERASED)
