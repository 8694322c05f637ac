"""Fit a calibration on scored trials. Scoring itself does not import this module, nor scikit-learn."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mltraining.speech.evaluation.trials import ScoredTrials
from mltraining.speech.scoring.calibration import NO_WEIGHTS, Calibration, UnsupportedRate, threshold_for
from mltraining.speech.scoring.quality_measures import QualityMeasures

# The L2 penalty on the slopes of standardised columns, beside a loss whose weights sum to one. Trials that a threshold
# separates perfectly have no finite maximum-likelihood slope; this much keeps it finite and moves an ordinary fit by
# less than 1 %.
RIDGE = 1e-4
REACH = 12.0  # natural logarithm: what lies beyond, either way, is in the last bin
BINS = 48


def fit_calibration(
    scores: np.ndarray,
    is_target: np.ndarray,
    prior: float,
    measures: QualityMeasures | None = None,
    weights: np.ndarray | None = None,
) -> Calibration:
    """Fit a calibration by prior-weighted logistic regression (Brümmer and du Preez, 2006).

    ``scores`` (n,), ``is_target`` (n,) bool; with ``measures`` (of n trials) their features are weighed, too. All
    target trials together weigh ``prior`` and all impostor trials 1 - prior, however many there are of each;
    ``weights`` (n,) say how much each counts among its kind, all alike where None. See RIDGE for trials that a
    threshold separates perfectly. A feature that does not vary gets no weight. Scores that do not vary, or that are
    higher for impostors, carry no evidence: slope and weights are then 0.

    Raises ValueError where a kind of trial is missing, a number is not finite, or the prior is outside (0, 1).
    """
    columns = np.asarray(scores, dtype=np.float64)[None]  # (1, n), or (4, n) with the measures
    if measures is not None:
        features = measures.features().reshape(len(NO_WEIGHTS), -1)
        columns = np.concatenate([columns, np.broadcast_to(features, (len(NO_WEIGHTS), columns.shape[1]))])
    if is_target.all() or not is_target.any():
        raise ValueError("a calibration needs target and impostor trials")
    if not np.isfinite(columns).all():
        raise ValueError("a calibration needs finite scores and quality measures")
    if not 0 < prior < 1:
        raise ValueError(f"the prior must be between 0 and 1, not {prior:g}")
    target, impostor = columns[:, is_target], columns[:, ~is_target]
    center = (target.mean(axis=1) + impostor.mean(axis=1)) / 2
    variances = [((each - center[:, None]) ** 2).mean(axis=1) for each in (target, impostor)]
    spread = np.sqrt((variances[0] + variances[1]) / 2)
    if spread[0] < 1e-12 or target[0].mean() <= impostor[0].mean():
        return Calibration.of(0.0, 0.0, prior)

    varying = spread >= 1e-12
    standardised = (columns - center[:, None])[varying] / spread[varying, None]
    weight = np.ones(len(is_target)) if weights is None else weights.astype(np.float64)
    kinds = np.where(is_target, prior / weight[is_target].sum(), (1 - prior) / weight[~is_target].sum())
    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(standardised.T, is_target, sample_weight=weight * kinds)
    slopes = np.zeros(1 + len(NO_WEIGHTS))
    slopes[np.flatnonzero(varying)] = model.coef_[0] / spread[varying]
    offset = model.intercept_[0] - math.log(prior / (1 - prior)) - slopes[: len(center)] @ center
    return Calibration.of(slopes[0], offset, prior, slopes[1:].tolist())


def distribution(corpora: Sequence[ScoredTrials], calibration: Calibration) -> dict[str, Any]:
    """Return how the log-likelihood ratios of target and of impostor trials are distributed, as JSON values.

    ``edges`` are the BINS + 1 limits of the bins; ``target`` and ``impostor`` are the shares of the trials in each bin,
    which sum to one. Each corpus weighs the same, as in ``fit_evenly``.
    """
    edges = np.linspace(-REACH, REACH, BINS + 1)
    found: dict[str, Any] = {"edges": edges.tolist()}
    for name, wanted in (("target", True), ("impostor", False)):
        shares = []
        for trials in corpora:
            ratios = calibration.log_likelihood_ratio(trials.scores, trials.measures)[trials.is_target == wanted]
            counts, _ = np.histogram(ratios.clip(-REACH, REACH), edges)
            shares.append(counts / max(counts.sum(), 1))
        found[name] = np.mean(shares, axis=0).round(6).tolist()
    return found


def fit_with_thresholds(
    trials: ScoredTrials, *, fitting_prior: float, prior: float, weights: np.ndarray | None = None
) -> Calibration:
    """Fit on all trials with the weight ``fitting_prior`` of target trials, and set the thresholds that they support.

    ``prior`` is the one that probabilities are then given for. ``weights`` (n,) say how much each trial counts among
    its kind. Raises ValueError as ``fit_calibration`` does.
    """
    fitted = fit_calibration(trials.scores, trials.is_target, fitting_prior, trials.measures, weights)
    calibration = Calibration.of(fitted.slope, fitted.offset, prior, fitted.weights)
    ratios = calibration.log_likelihood_ratio(trials.scores, trials.measures)
    impostor = ~trials.is_target
    return calibration.with_thresholds(
        ratios[trials.is_target], ratios[impostor], None if weights is None else weights[impostor]
    )


def fit_evenly(corpora: Sequence[ScoredTrials], *, fitting_prior: float, prior: float) -> Calibration:
    """Do what ``fit_with_thresholds`` does, on several corpora, each of which weighs the same.

    A false-accept rate is then the mean of the corpora's.
    """
    kinds = np.array([[each.is_target.sum(), (~each.is_target).sum()] for each in corpora])
    trials = ScoredTrials.joined(corpora)
    corpus = np.repeat(np.arange(len(corpora)), [len(each.scores) for each in corpora])
    weights = 1 / kinds[corpus, np.where(trials.is_target, 0, 1)]
    return fit_with_thresholds(trials, fitting_prior=fitting_prior, prior=prior, weights=weights)


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Of each trial (n,): its log-likelihood ratio, and whether the threshold for a false-accept rate accepts it.

    NaN for a trial between the halves and for a half that nothing could be fitted for; ``accepted`` also where the
    trials do not support the false-accept rate.
    """

    ratios: np.ndarray
    accepted: np.ndarray


def cross_fit(
    trials: ScoredTrials,
    prior: float,
    *,
    seed: int | Sequence[int] = 0,
    fitted_on: np.ndarray | None = None,
    target_far: float | None = None,
) -> CrossFitted:
    """Calibrate each half of the speakers by a calibration and a threshold that were fitted on the other half.

    So no trial is judged by a calibration that has heard one of its speakers; trials between the halves are left out.
    ``fitted_on`` (n,) bool: the trials that may be fitted on, all where it is None. ``target_far``: the false-accept
    rate that the threshold is set for.
    """
    names, indices = np.unique(np.concatenate([trials.speakers, trials.test_speakers]), return_inverse=True)
    half = (np.random.default_rng(seed).permutation(len(names)) % 2)[indices].reshape(2, -1)
    usable = np.ones(len(trials.scores), dtype=bool) if fitted_on is None else fitted_on
    found = CrossFitted(np.full(len(trials.scores), np.nan), np.full(len(trials.scores), np.nan))
    for tested in (0, 1):
        inside = (half == tested).all(axis=0)
        others = trials.take((half != tested).all(axis=0) & usable)
        if others.is_target.all() or not others.is_target.any():
            continue  # too few speakers for two halves
        calibration = fit_calibration(others.scores, others.is_target, prior, others.measures)
        own = calibration.log_likelihood_ratio(trials.scores[inside], trials.measures.take(inside))
        found.ratios[inside] = own
        if target_far is not None:
            ratios = calibration.log_likelihood_ratio(others.scores, others.measures)
            with suppress(UnsupportedRate):
                found.accepted[inside] = own >= threshold_for(
                    ratios[others.is_target], ratios[~others.is_target], target_far
                )
    return found
