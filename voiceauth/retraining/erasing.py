"""What retraining forgets when a customer's voice is erased."""

from django.db.models import F

from enrollment.models import Customer
from mltraining.models import ModelVersion
from voiceauth.retraining.models import TrainingSpeaker


def forget_customer(customer: Customer) -> dict[str, int]:
    """Flag the models that the customer's recordings trained, because a retrain is due."""
    trained = TrainingSpeaker.objects.filter(customer=customer)
    ModelVersion.objects.filter(pk__in=trained.values("model")).update(erased_speakers=F("erased_speakers") + 1)
    trained.delete()
    return {}
