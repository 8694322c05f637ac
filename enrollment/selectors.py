"""Reads of customers and their samples."""

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.search import SearchQuery
from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils import timezone

from enrollment import keys
from enrollment.errors import ConsentTextNotFound, CustomerNotFound
from enrollment.models import WORDS_OF_NAME, AudioSample, ConfirmedCall, ConsentText, Customer
from voiceauth.platform import storage as audio_store
from voiceauth.policies.document import Enrichment

LONGEST_SEARCH = 200  # letters


def customers() -> QuerySet[Customer]:
    """Return all customers but the erased, by identifier, with their consents, the latest first."""
    known = Customer.objects.exclude(state=Customer.State.ERASED)
    calls = Prefetch("confirmed_calls", ConfirmedCall.objects.select_related("sample"))
    return known.prefetch_related("consents", calls).order_by("customer_id")


def find_customers(among: QuerySet[Customer], text: str) -> QuerySet[Customer]:
    """Select those whose identifier begins with ``text``, or whose name has words that begin with the words of it."""
    text = text[:LONGEST_SEARCH]
    quoted = ("'" + word.replace("\\", "").replace("'", "''") + "':*" for word in text.split())
    named = SearchQuery(" & ".join(quoted), config="simple", search_type="raw")
    found = Q(customer_id__startswith=text.strip()) | Q(words_of_name=named)
    return among.annotate(words_of_name=WORDS_OF_NAME).filter(found)


def customer(customer_id: str) -> Customer:
    """Return one customer. Raises ``CustomerNotFound``, for an erased one as well."""
    found = customers().filter(customer_id=customer_id).first()
    if found is None:
        raise CustomerNotFound
    return found


def consent_texts() -> QuerySet[ConsentText]:
    """Return all consent texts, the latest first."""
    return ConsentText.objects.order_by("-created_at", "version")


def consent_text(version: str) -> ConsentText:
    """Return one consent text. Raises ``ConsentTextNotFound``."""
    found = consent_texts().filter(version=version).first()
    if found is None:
        raise ConsentTextNotFound(text_version=version)
    return found


def samples(customer_id: str) -> QuerySet[AudioSample]:
    """Return the customer's samples, the oldest first. Raises ``CustomerNotFound``."""
    return customer(customer_id).samples.select_related("confirmation").order_by("created_at", "id")


def held_samples() -> QuerySet[AudioSample]:
    """Return the recordings of all customers that are pending a second person's approval, the oldest first."""
    held = AudioSample.objects.exclude(held_for=[]).select_related("customer", "confirmation")
    return held.order_by("created_at", "id")


def excess_calls(customer: Customer, rules: Enrichment) -> list[AudioSample]:
    """Return the confirmed calls that are too old for ``rules``, and the oldest of those that are too many."""
    calls = customer.samples.filter(confirmation__isnull=False).order_by("-created_at", "id")
    old = calls.filter(created_at__lt=_oldest(rules))
    many = calls.filter(held_for=[]).exclude(created_at__lt=_oldest(rules))[rules.max_calls :]
    return [*old, *many]


def customers_with_excess_calls(rules: Enrichment) -> set[str]:
    """Return the identifiers of the customers of whom ``excess_calls`` finds any."""
    old = ConfirmedCall.objects.filter(sample__created_at__lt=_oldest(rules)).values_list("customer__customer_id")
    counting = ConfirmedCall.objects.filter(sample__held_for=[]).values_list("customer__customer_id")
    many = counting.annotate(count=Count("pk")).filter(count__gt=rules.max_calls).values_list("customer__customer_id")
    return {customer_id for (customer_id,) in [*old, *many]}


def _oldest(rules: Enrichment) -> datetime:
    return timezone.now() - timedelta(days=rules.max_age_days)


def sample_audio(sample: AudioSample) -> bytes:
    """Return a sample's recording, unsealed. Whoever plays it records that in the audit trail."""
    return keys.unseal_audio(sample.customer, sample.pk, audio_store.read(sample.audio.content))


def has_consent(customer: Customer) -> bool:
    """Return whether the customer consents now to audio being stored and scored."""
    return customer.consents.filter(withdrawn_at=None).exists()


def remaining_seconds(customer: Customer) -> float:
    """Return the net speech, in seconds, that the customer still needs to be enrolled."""
    return max(0.0, settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS - customer.speech_seconds)
