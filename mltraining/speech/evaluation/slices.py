"""Slices of an evaluation: the trials of one condition, or of one group of speakers in it, and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.conditions import G711, ConditionScores, TrialAudio
from mltraining.speech.evaluation.figures import Figure, Trials
from mltraining.speech.evaluation.fitting import CrossFitted, cross_fit
from mltraining.speech.evaluation.metrics import ResampledTrials
from mltraining.speech.evaluation.trials import ScoredTrials

FITTING_PRIOR = 0.01  # the weight of target trials where a calibration is fitted, that of the detection cost
EVEN_ODDS = 0.5  # the prior of the probability that the API answers
TARGET_FALSE_ACCEPT_RATE = 0.01  # that the threshold is set for
UNKNOWN_PARTS = 3  # a third of the speakers is unknown, each third in turn
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Slice:
    """The trials among ``members`` (speakers,) bool in one condition."""

    name: str
    label: str
    audio: TrialAudio
    heard: ConditionScores
    members: np.ndarray

    @cached_property
    def inside(self) -> np.ndarray:
        """Which of the condition's trials are in the slice: (t,) bool."""
        every = self.heard.trials(self.audio)
        return self.members[every.speakers] & self.members[every.test_speakers]

    @cached_property
    def trials(self) -> ScoredTrials:
        """The slice's trials, in the condition's order. Their speakers are indices."""
        return self.heard.trials(self.audio).take(self.inside)

    def resampled(self, weights: np.ndarray) -> ResampledTrials:
        """Return the trials under resamples of the speakers, weights (resamples, speakers)."""
        return ResampledTrials(self.trials.scores, self.trials.is_target, pair_weights(self.trials, weights))


def slices(audio: TrialAudio, heard: Sequence[ConditionScores]) -> list[Slice]:
    """Return every condition, and each group of speakers through G.711, where there are trials of both kinds."""
    everybody = np.ones(len(audio.speakers), dtype=bool)
    found = [Slice(each.condition.name, each.condition.label, audio, each, everybody) for each in heard]
    found += [
        Slice(f"{G711.name}-{name}", f"{name}, {G711.label}", audio, each, group)
        for each in heard
        if each.condition == G711
        for name, group in audio.groups.items()
    ]
    return [each for each in found if each.trials.is_target.any() and not each.trials.is_target.all()]


def pooled(audio: TrialAudio, heard: Sequence[ConditionScores]) -> ScoredTrials:
    """Return the trials of several conditions, one after the other."""
    return ScoredTrials.joined([each.trials(audio) for each in heard])


def cross_fit_conditions(audio: TrialAudio, heard: Sequence[ConditionScores], *, seed: int) -> dict[str, CrossFitted]:
    """Cross-fit the trials of each condition, by its name.

    Fitted on the trials of all conditions that calibrate, pooled, so that the quality measures have a range.
    """
    trials = [each.trials(audio) for each in heard]
    counts = [len(each.scores) for each in trials]
    calibrates = np.array([each.condition.calibrates for each in heard])
    found = cross_fit(
        ScoredTrials.joined(trials),
        FITTING_PRIOR,
        seed=[seed, 3],
        fitted_on=np.repeat(calibrates if calibrates.any() else ~calibrates, counts),
        target_far=TARGET_FALSE_ACCEPT_RATE,
    )
    ends = np.cumsum(counts)[:-1]
    parts = zip(heard, np.split(found.ratios, ends), np.split(found.accepted, ends), strict=True)
    return {each.condition.name: CrossFitted(ratios, accepted) for each, ratios, accepted in parts}


def pair_weights(trials: ScoredTrials, weights: np.ndarray) -> np.ndarray:
    """Return how often each trial is held by weights (resamples, speakers): the product of its two speakers'."""
    return weights[:, trials.speakers] * weights[:, trials.test_speakers]


def figures_of(part: Slice, fitted: CrossFitted, weights: np.ndarray, unknown: np.ndarray) -> dict[str, Figure | None]:
    """Measure a slice under resamples of the speakers, weights (resamples + 1, speakers).

    ``fitted`` is the condition's. ``unknown`` (speakers,) deals the speakers to UNKNOWN_PARTS. EER, minDCF and the
    false-reject rates are of the pipeline's scores on all trials; Cllr, actDCF and the rates at the threshold are of
    the cross-fitted log-likelihood ratios. None where nothing could be cross-fitted, or searched for.
    """
    trials, resampled = part.trials, part.resampled(weights)
    counts = Trials.of(trials.is_target, trials.speakers, trials.test_speakers)

    def rate(values: np.ndarray, impostors: int = 0) -> Figure:
        return Figure.of_resamples(values, counts, impostors=impostors, is_rate=True)

    found: dict[str, Figure | None] = {
        "eer": rate(resampled.equal_error_rate()),
        "min_dcf": Figure.of_resamples(resampled.min_dcf(), counts),
        "false_reject_rate_at_1": rate(resampled.false_reject_rate_at(0.01), 300),  # the rule of three's 3 / 0.01
        "false_reject_rate_at_01": rate(resampled.false_reject_rate_at(0.001), 3000),
    }
    owner = part.audio.owner[part.heard.clips]
    rows = np.flatnonzero(part.members[owner])
    owner, matrix = owner[rows], part.heard.scores[rows]
    own, rival = _own_and_rival(matrix, owner, np.ones(len(part.members), dtype=bool))
    drawn = weights[:, owner]
    found["rank_one"] = rate(metrics.weighted_mean((own > rival).astype(float), drawn))
    missed = fnir(matrix, owner, drawn, unknown)
    found["fnir"] = None if missed is None else rate(missed)
    return found | _calibrated_figures(trials, fitted, part.inside, weights)


def _calibrated_figures(
    trials: ScoredTrials, fitted: CrossFitted, inside: np.ndarray, weights: np.ndarray
) -> dict[str, Figure | None]:
    has = np.isfinite(fitted.ratios[inside])
    ratios, accepted, trials = fitted.ratios[inside][has], fitted.accepted[inside][has], trials.take(has)
    target = trials.is_target
    if not target.any() or target.all():
        names = ("cllr", "min_cllr", "actual_dcf", "min_dcf_of_ratios", "false_accept_rate", "false_reject_rate")
        return dict.fromkeys(names)
    counts = Trials.of(target, trials.speakers, trials.test_speakers)
    drawn = pair_weights(trials, weights)
    resampled = ResampledTrials(ratios, target, drawn)
    rates = {
        "false_accept_rate": metrics.weighted_mean(accepted[~target], drawn[:, ~target]),
        "false_reject_rate": metrics.weighted_mean(1 - accepted[target], drawn[:, target]),
    }
    found: dict[str, Figure | None] = {
        "cllr": Figure.of_resamples(resampled.cllr(), counts),
        "min_cllr": Figure.of_resamples(resampled.min_cllr(), counts),
        "actual_dcf": Figure.of_resamples(resampled.actual_dcf(), counts),
        "min_dcf_of_ratios": Figure.of_resamples(resampled.min_dcf(), counts),
    }
    for name, values in rates.items():
        found[name] = Figure.of_resamples(values, counts, is_rate=True)
    return found


def fnir(matrix: np.ndarray, owner: np.ndarray, drawn: np.ndarray, unknown: np.ndarray) -> np.ndarray | None:
    """Return the false-negative identification rate at a false-positive rate of 1 %, under resamples: (resamples,).

    ``matrix`` (clips, speakers), ``owner`` (clips,), ``drawn`` (resamples, clips). The mean over the parts of the
    speakers, each unknown in turn: its voiceprints are removed and its clips are searches of unknown speakers. None
    where a part leaves no searches of one kind.
    """
    rates = []
    for part in range(UNKNOWN_PARTS):
        enrolled = unknown != part
        known = enrolled[owner]
        if not known.any() or known.all():
            return None
        own, rival = _own_and_rival(matrix[known], owner[known], enrolled)
        stranger = matrix[~known][:, enrolled].max(axis=1)
        rates.append(metrics.fnir_at_fpir(own, rival, stranger, 0.01, drawn[:, known], drawn[:, ~known]))
    return np.mean(rates, axis=0)


def _own_and_rival(matrix: np.ndarray, owner: np.ndarray, enrolled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, speakers) -> of the own voiceprint and the best of the other enrolled ones, (n,) each."""
    rows = np.arange(len(matrix))
    others = np.where(enrolled[None, :], matrix, -np.inf)
    others[rows, owner] = -np.inf
    return matrix[rows, owner], others.max(axis=1, initial=-np.inf)


@dataclass(frozen=True)
class GenderGap:
    """False-reject rates of adults by gender, and the worst over the best.

    The ratio counts half an error more for each, so that it stays finite where a gender has none.
    """

    false_reject_rate: dict[str, Figure]
    worst_over_best: Figure


def adults_by_gender(parts: Sequence[Slice], fitted: dict[str, CrossFitted], weights: np.ndarray) -> GenderGap | None:
    """Measure adult women and men at the threshold through G.711.

    None where that condition was left out, or where there are not adults of both genders whose trials have a threshold.
    """
    part = next((each for each in parts if each.name == G711.name), None)
    if part is None or not {"adult", "female", "male"} <= set(part.audio.groups):
        return None
    groups = part.audio.groups
    accepted = fitted[G711.name].accepted[part.inside]
    judged = part.trials.is_target & np.isfinite(accepted)
    owner, rejected = part.trials.test_speakers[judged], 1 - accepted[judged]
    rates: dict[str, Figure] = {}
    smoothed = []
    for gender in ("female", "male"):
        group = (groups[gender] & groups["adult"])[owner]
        if not group.any():
            return None
        drawn = weights[:, owner[group]]
        # Only target trials count here: the number of impostor trials does not limit a false-reject rate.
        count = Trials(int(group.sum()), int((~part.trials.is_target).sum()), len(np.unique(owner[group])))
        rates[gender] = Figure.of_resamples(metrics.weighted_mean(rejected[group], drawn), count, is_rate=True)
        smoothed.append((drawn @ rejected[group] + 0.5) / (drawn.sum(axis=1) + 1))
    counts = Trials(int(judged.sum()), int((~part.trials.is_target).sum()), len(np.unique(owner)))
    ratio = Figure.of_resamples(np.maximum(*smoothed) / np.minimum(*smoothed), counts)
    return GenderGap(rates, ratio)
