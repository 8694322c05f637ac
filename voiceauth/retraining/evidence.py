"""The evidence that a model needs before it may serve decisions.

A model may serve once the trials of its calibration support the false-accept rate that the policy names for calls
without a tier, on speakers who trained nothing (``mltraining.calibrations.shortfalls``). What a training run measures
on the recordings that it held out is no such evidence, because the same speakers trained the model. Trials of strangers
come from the frozen set, where there is one, or else from the customers whom the run has left out (``holding_out``);
and from ``manage.py calibrate``.

A model with less than that needs a forced promotion, which a second person approves. A model that was in service before
needs nothing: the way back is always open.
"""

from dataclasses import dataclass
from typing import Any

from mltraining import calibrations
from mltraining.calibrations import Shortfall
from mltraining.models import Calibration, ModelVersion
from voiceauth.policies import selectors as policies
from voiceauth.retraining.errors import NotEnoughEvidence


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a model's calibration was measured on, and what is ``missing`` to serve at ``target_far``."""

    target_far: float
    calibration: Calibration | None
    missing: tuple[Shortfall, ...]

    @property
    def is_sufficient(self) -> bool:
        """Whether the model may serve without a forced promotion."""
        return not self.missing

    def summary(self) -> dict[str, Any]:
        """Return the evidence as JSON values, for the API, an approval and the trail."""
        known = self.calibration
        return {
            "sufficient": self.is_sufficient,
            "target_far": self.target_far,
            "missing": [each.as_dict() for each in self.missing],
            "threshold": calibrations.threshold(known, self.target_far) if known else None,
            "target_trials": known.target_trials if known else 0,
            "impostor_trials": known.impostor_trials if known else 0,
            "speakers": known.speakers if known else 0,
            "strangers": bool(known and known.strangers),
            "source": known.source if known else "",
        }


def of(model: ModelVersion, target_far: float | None = None) -> Evidence:
    """Return the evidence for ``model`` at ``target_far``, by default the rate of calls without a tier."""
    if target_far is None:
        target_far = policies.in_force().verification.target_far
    known = next((each for each in model.calibrations.all() if each.active), None)
    missing = calibrations.shortfalls(known, target_far) if known else [Shortfall("not_calibrated", 0, 1)]
    return Evidence(target_far=target_far, calibration=known, missing=tuple(missing))


def require(model: ModelVersion, *, forced: bool) -> Evidence:
    """Check that ``model`` may go into service, and return its evidence for the trail.

    Raises ``NotEnoughEvidence`` unless the evidence is sufficient, the promotion is ``forced``, or the model was in
    service before.
    """
    found = of(model)
    if not (forced or found.is_sufficient or model.activated_at is not None):
        lacks = "; ".join(map(str, found.missing))
        raise NotEnoughEvidence(
            f"{NotEnoughEvidence.message} At a false-accept rate of {found.target_far:g}: {lacks}.",
            version=model.version,
            evidence=found.summary(),
        )
    return found
