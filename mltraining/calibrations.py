"""Calibrations of registered models: which one is in force, and which false-accept rates its trials support."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import transaction

from mltraining.errors import ModelNotFound
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record

# No false reject in 30 target trials bounds the false-reject rate at 10 % (rule of three); fewer say next to nothing.
MIN_TARGET_TRIALS = 30
# All trials of one voice fail together, so below this number a single unusual voice decides the false-accept rate.
MIN_SPEAKERS = 10


@dataclass(frozen=True, kw_only=True)
class MeasuredOn:
    """The trials that a calibration was measured on.

    ``strangers``: whether none of the ``speakers`` trained the model. ``source`` names the trials for people.
    ``distribution`` is that of their log-likelihood ratios, as ``speech.evaluation.fitting.distribution`` gives it;
    empty where it was not kept.
    """

    target_trials: int
    impostor_trials: int
    speakers: int
    strangers: bool
    source: str
    distribution: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shortfall:
    """One thing that a calibration lacks to support a false-accept rate. ``code`` is stable."""

    code: str
    have: int
    need: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, with a sentence for people."""
        return asdict(self) | {"message": str(self)}

    def __str__(self) -> str:
        words = {
            "not_calibrated": "the model has no calibration",
            "trained_on_these_speakers": "its calibration was measured on speakers who trained the model, or may have",
            "too_few_impostor_trials": f"{self.have} impostor trials, {self.need} are needed",
            "too_few_target_trials": f"{self.have} target trials, {self.need} are needed",
            "too_few_speakers": f"{self.have} speakers, {self.need} are needed",
            "no_threshold": "it holds no threshold for this rate",
        }
        return words[self.code]


def in_force(version: str) -> Calibration | None:
    """Return the calibration that the scores of model ``version`` are read by."""
    return Calibration.objects.filter(model=version, active=True).first()


def impostor_trials_for(target_far: float) -> int:
    """Return how many impostor trials support a false-accept rate.

    The rule of three: no false accept in n independent trials bounds the rate at 3 / n with 95 % confidence.
    """
    return math.ceil(3 / target_far - 1e-9)


def shortfalls(calibration: Calibration, target_far: float) -> list[Shortfall]:
    """Return what ``calibration`` lacks to promise a false-accept rate of ``target_far``; nothing where it can.

    The trials must be of strangers, because on speakers who trained the model every figure flatters it.
    """
    counts = [
        Shortfall("trained_on_these_speakers", int(calibration.strangers), 1),
        Shortfall("too_few_impostor_trials", calibration.impostor_trials, impostor_trials_for(target_far)),
        Shortfall("too_few_target_trials", calibration.target_trials, MIN_TARGET_TRIALS),
        Shortfall("too_few_speakers", calibration.speakers, MIN_SPEAKERS),
        Shortfall("no_threshold", sum(rate <= target_far * (1 + 1e-9) for rate, _ in _thresholds(calibration)), 1),
    ]
    return [each for each in counts if each.have < each.need]


def threshold(calibration: Calibration, target_far: float) -> float:
    """Return the probability to accept from, so that at most ``target_far`` of the impostors are accepted.

    Where the trials support the rate, the threshold was measured on them; between two measured rates the stricter
    one counts. Where they do not, it stands at a log-likelihood ratio of ln(1 / target_far): no larger share of
    impostors exceeds that, provided that the ratios are calibrated (van Leeuwen and Brümmer, "The distribution of
    calibrated likelihood-ratios in speaker recognition", 2013).
    """
    if shortfalls(calibration, target_far):
        ratio = -math.log(target_far)
    else:
        ratio = next(ratio for rate, ratio in _thresholds(calibration) if rate <= target_far * (1 + 1e-9))
    prior = float(calibration.parameters["prior"])
    posterior = 1 / (1 + math.exp(-ratio) * (1 - prior) / prior)
    return min(posterior, math.nextafter(1, 0))  # a threshold of 1 would refuse everybody


def ratio_of(calibration: Calibration, probability: float) -> float:
    """Return the log-likelihood ratio that stands behind a probability under the calibration's prior."""
    prior = float(calibration.parameters["prior"])
    return math.log(probability / (1 - probability)) - math.log(prior / (1 - prior))


def _thresholds(calibration: Calibration) -> list[tuple[float, float]]:
    """(false-accept rate, log-likelihood ratio), the highest rate first."""
    return [(float(rate), float(ratio)) for rate, ratio in calibration.parameters.get("thresholds", ())]


@transaction.atomic
def put_into_force(*, version: str, parameters: dict[str, Any], measured_on: MeasuredOn, actor: Actor) -> Calibration:
    """Read the scores of model ``version`` by ``parameters`` (``speech.scoring.Calibration.to_dict``) from now on.

    Every scoring worker does so from the next call on. Raises ``ModelNotFound``.
    """
    model = ModelVersion.objects.select_for_update().filter(version=version).first()
    if model is None:
        raise ModelNotFound
    before = {"calibration_version": model.calibration_version}
    model.calibrations.filter(active=True).update(active=False)
    calibration = store(model, parameters, measured_on, actor)
    model.calibration_version = calibration.version
    model.save(update_fields=["calibration_version"])
    record(
        action="model.recalibrated",
        actor=actor,
        target=f"model:{version}",
        model_version=version,
        before=before,
        after={"calibration_version": calibration.version},
        data={"parameters": parameters, **asdict(measured_on)},
    )
    return calibration


def store(model: ModelVersion, parameters: dict[str, Any], measured_on: MeasuredOn, actor: Actor) -> Calibration:
    """Store the active calibration of a model that has none."""
    return Calibration.objects.create(
        model=model,
        version=parameters["version"],
        parameters=parameters,
        created_by=actor.name,
        **asdict(measured_on) | {"source": measured_on.source[:500]},
    )
