"""The gallery of all enrolled customers' voiceprints under one model, in a scoring worker's memory."""

from django.db.models import QuerySet

from enrollment import keys
from enrollment.models import Customer, Voiceprint
from mltraining import gallery
from mltraining.gallery import Entry


class Gallery(gallery.Gallery):
    """The voiceprints of everybody who is enrolled, named by the bank's identifier."""

    OWNER = "customer_id"

    def rows(self) -> "QuerySet[Voiceprint]":
        """Select the enrolled customers' voiceprints."""
        enrolled = Voiceprint.objects.filter(customer__state=Customer.State.ENROLLED)
        return enrolled.filter(model_fingerprint=self.model_fingerprint).select_related("customer")

    def entry(self, row: Voiceprint) -> Entry:
        """Unseal one customer's voiceprint."""
        vector = keys.unseal_voiceprint(row.customer, self.model_fingerprint, row.content)
        return Entry(row.customer_id, row.customer.customer_id, row.revision, vector, row.speech_seconds)


of_model = gallery.Current(Gallery).of_model
