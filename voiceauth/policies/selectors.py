"""Reads of the policy."""

from django.db.models import QuerySet

from voiceauth.policies import document
from voiceauth.policies.document import Policy
from voiceauth.policies.models import PolicyVersion


def versions() -> QuerySet[PolicyVersion]:
    """All versions, the one in force first."""
    return PolicyVersion.objects.order_by("-number")


def in_force() -> Policy:
    """Asked of the database each time: a change counts from the next call on, in every process."""
    version = versions().first()
    return document.read(version.content, version.number) if version else document.read({}, 0)
