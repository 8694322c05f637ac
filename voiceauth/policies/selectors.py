"""Reads of the policy, and of what the calibration in force can promise."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from mltraining import calibrations
from mltraining import selectors as models
from mltraining.calibrations import Shortfall
from voiceauth.policies import document
from voiceauth.policies.document import Policy
from voiceauth.policies.models import PolicyVersion


def versions() -> QuerySet[PolicyVersion]:
    """Select all versions, the one in force first."""
    return PolicyVersion.objects.order_by("-number")


@dataclass(frozen=True)
class UnmetRate:
    """A false-accept rate of the policy that the calibration in force cannot promise. No ``tier``: the default rate."""

    tier: str
    target_far: float
    missing: tuple[Shortfall, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, with a sentence for people."""
        missing = [each.as_dict() for each in self.missing]
        return {"tier": self.tier, "target_far": self.target_far, "missing": missing, "message": str(self)}

    def __str__(self) -> str:
        what = f"the tier {self.tier!r}" if self.tier else "calls without a tier"
        lacks = "; ".join(map(str, self.missing))
        return f"The calibration in force does not support {self.target_far:g} false accepts for {what}: {lacks}."


def unmet_rates(policy: Policy | None = None) -> list[UnmetRate]:
    """Return the rates of ``policy``, by default the one in force, that the model in service cannot promise.

    Calls of such a tier are refused (``tier_not_calibrated``). There are none where no model is in service.
    """
    model = models.active_model()
    calibration = calibrations.in_force(model.version) if model else None
    if calibration is None:
        return []
    policy = policy or in_force()
    rates = {"": policy.verification.target_far} | {name: tier.target_far for name, tier in policy.tiers.items()}
    found = [UnmetRate(name, rate, tuple(calibrations.shortfalls(calibration, rate))) for name, rate in rates.items()]
    return [each for each in found if each.missing]


def in_force() -> Policy:
    """Return the policy in force.

    It is read each time, so that a change counts from the next call on in every process.
    """
    version = versions().first()
    return document.read(version.content, version.number) if version else document.read({}, 0)
