"""Reads of erasures."""

from uuid import UUID

from django.db.models import QuerySet

from voiceauth.platform.erasure.errors import ErasureNotFound
from voiceauth.platform.erasure.models import Erasure


def erasures(*, of_customers_only: bool) -> QuerySet[Erasure]:
    """Return all erasures, the latest first. Those of watched voices are only for whoever may see watchlists."""
    found = Erasure.objects.defer("recordings").order_by("-created_at")
    return found.exclude(customer_id="") if of_customers_only else found


def erasure(erasure_id: UUID, *, of_customers_only: bool) -> Erasure:
    """Return one erasure. Raises ``ErasureNotFound``."""
    found = erasures(of_customers_only=of_customers_only).filter(pk=erasure_id).first()
    if found is None:
        raise ErasureNotFound
    return found
