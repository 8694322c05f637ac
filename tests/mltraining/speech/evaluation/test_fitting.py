"""Fitting a calibration, on all trials and crosswise over halves of the speakers."""

import math
import subprocess
import sys

import numpy as np
import pytest

from mltraining.speech.evaluation.fitting import RIDGE, cross_fit, fit_calibration
from mltraining.speech.evaluation.metrics import cllr, min_cllr
from mltraining.speech.evaluation.trials import ScoredTrials
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.quality_measures import QualityMeasures


def fit(target: np.ndarray, impostor: np.ndarray, prior: float, measures: QualityMeasures | None = None) -> Calibration:
    """Fit on target (n,) and impostor (m,) scores; ``measures`` are of both, in this order."""
    scores = np.concatenate([target, impostor])
    return fit_calibration(scores, np.arange(len(scores)) < len(target), prior, measures)


def test_calibration_recovers_the_ratios_of_two_normal_distributions() -> None:
    # Equal variances: the log-likelihood ratio is affine, (m1 - m0) / s² * x + (m0² - m1²) / (2 s²).
    random = np.random.default_rng(1)
    target, impostor = random.normal(0.6, 0.2, 60_000), random.normal(0.1, 0.2, 90_000)
    found = fit(target, impostor, 0.1)
    assert found.slope == pytest.approx(12.5, rel=0.03)
    assert found.offset == pytest.approx((0.01 - 0.36) / 0.08, rel=0.03)
    ratios = found.log_likelihood_ratio(target), found.log_likelihood_ratio(impostor)
    assert cllr(*ratios) == pytest.approx(min_cllr(*ratios), abs=0.01)


def test_the_ratios_do_not_depend_on_how_many_trials_of_a_kind_there_are() -> None:
    random = np.random.default_rng(1)
    target, impostor = random.normal(0.6, 0.2, 500), random.normal(0.1, 0.2, 500)
    once, often = fit(target, impostor, 0.1), fit(target, np.tile(impostor, 40), 0.1)
    assert often.slope == pytest.approx(once.slope)
    assert often.offset == pytest.approx(once.offset)


@pytest.mark.parametrize("prior", [0.001, 0.02, 0.5])
def test_trials_that_a_threshold_separates_give_a_finite_calibration(prior: float) -> None:
    found = fit(np.array([0.8, 0.9, 0.95]), np.array([-0.1, 0.0, 0.1, 0.2]), prior)
    assert 0 < found.slope < 1000
    assert found.log_likelihood_ratio(0.8) > 0 > found.log_likelihood_ratio(0.2)


@pytest.mark.parametrize(("target", "impostor"), [([0.5, 0.5], [0.5]), ([0.1, 0.2], [0.8, 0.9])])
def test_scores_without_evidence_leave_the_prior(target: list[float], impostor: list[float]) -> None:
    found = fit(np.array(target), np.array(impostor), 0.3)
    assert found.probability(found.log_likelihood_ratio(0.9)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("target", "impostor", "prior", "message"),
    [
        ([], [0.1], 0.5, "needs target and impostor"),
        ([0.1], [], 0.5, "needs target and impostor"),
        ([math.nan], [0.1], 0.5, "finite"),
        ([0.9], [math.inf], 0.5, "finite"),
        ([0.9], [0.1], 0.0, "prior"),
        ([0.9], [0.1], 1.0, "prior"),
    ],
)
def test_a_calibration_of_nothing_is_refused(
    target: list[float], impostor: list[float], prior: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(np.array(target), np.array(impostor), prior)


def measured(random: np.random.Generator, targets: int, impostors: int) -> tuple[np.ndarray, QualityMeasures]:
    """Scores, the targets' first, that are lower for everybody where the test clip is short or noisy."""
    count = targets + impostors
    measures = QualityMeasures(
        np.exp(random.uniform(0, 3, count)), np.exp(random.uniform(1, 4, count)), random.uniform(0, 40, count)
    )
    test, _, snr = measures.features()
    means = np.repeat([0.6, 0.1], [targets, impostors])
    return means + random.normal(0, 0.2, count) + 0.1 * test + 0.05 * snr, measures


def test_quality_that_shifts_all_scores_is_taken_out() -> None:
    scores, measures = measured(np.random.default_rng(2), 30_000, 40_000)
    target = np.arange(70_000) < 30_000
    plain, found = fit_calibration(scores, target, 0.1), fit_calibration(scores, target, 0.1, measures)
    assert found == fit_calibration(scores, target, 0.1, measures)
    assert found.slope == pytest.approx(12.5, rel=0.03)
    np.testing.assert_allclose(found.weights, [-1.25, 0, -0.625], atol=0.1)
    better, worse = found.log_likelihood_ratio(scores, measures), plain.log_likelihood_ratio(scores)
    assert cllr(better[target], better[~target]) < cllr(worse[target], worse[~target]) - 0.02


def test_a_quality_measure_that_does_not_vary_gets_no_weight() -> None:
    random = np.random.default_rng(2)
    target, impostor = random.normal(0.6, 0.2, 500), random.normal(0.1, 0.2, 500)
    found = fit(target, impostor, 0.1, QualityMeasures(3.0, 20.0, 25.0))
    plain = fit(target, impostor, 0.1)
    assert found.weights == (0, 0, 0)
    assert (found.slope, found.offset) == pytest.approx((plain.slope, plain.offset))


def test_the_fit_minimises_the_prior_weighted_loss() -> None:
    """No step away from the fit lowers the loss that Brümmer and du Preez define, with the penalty of RIDGE."""
    random = np.random.default_rng(3)
    target, impostor = random.normal(0.6, 0.2, 80), random.normal(0.1, 0.2, 300)
    found = fit(target, impostor, 0.02)
    logit = math.log(0.02 / 0.98)

    def loss(slope: float, offset: float) -> float:
        missed = np.logaddexp(0, -(slope * target + offset + logit)).mean()
        accepted = np.logaddexp(0, slope * impostor + offset + logit).mean()
        center = (target.mean() + impostor.mean()) / 2
        spread = np.sqrt((((target - center) ** 2).mean() + ((impostor - center) ** 2).mean()) / 2)
        return float(0.02 * missed + 0.98 * accepted + RIDGE / 2 * (slope * spread) ** 2)

    least = loss(found.slope, found.offset)
    for step in (-0.01, 0.01):
        assert loss(found.slope + step, found.offset) > least
        assert loss(found.slope, found.offset + step) > least


def test_scoring_needs_no_scikit_learn() -> None:
    """A scoring worker applies calibrations and never fits one: the library would cost it a second and 30 MB."""
    program = "import sys, mltraining.speech.scoring.pipeline; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def crossed_trials(takes: int = 20) -> ScoredTrials:
    """Every one of 20 speakers against every one, several times."""
    random = np.random.default_rng(4)
    names = np.array([f"s{number:02}" for number in range(20)])
    claimed, spoken = (np.tile(each.ravel(), takes) for each in np.meshgrid(names, names))
    scores = np.where(claimed == spoken, 0.6, 0.1) + random.normal(0, 0.2, len(claimed))
    one = np.ones(len(scores))
    return ScoredTrials(scores, claimed == spoken, QualityMeasures(3 * one, 20 * one, 25 * one), claimed, spoken)


def test_cross_fitting_calibrates_a_half_of_the_speakers_by_the_other() -> None:
    trials = crossed_trials()
    found = cross_fit(trials, 0.1).ratios
    assert np.array_equal(found, cross_fit(trials, 0.1).ratios, equal_nan=True)
    held = np.isfinite(found)
    assert held[trials.is_target].all()  # a target trial never lies between the halves
    assert held.mean() == pytest.approx(0.5)  # two halves of ten
    partners = trials.test_speakers[held & (trials.speakers == "s00")]
    inside = np.isin(trials.speakers, partners) & np.isin(trials.test_speakers, partners)
    outside = ~np.isin(trials.speakers, partners) & ~np.isin(trials.test_speakers, partners)
    expected = fit_calibration(trials.scores[outside], trials.is_target[outside], 0.1)
    np.testing.assert_allclose(found[inside], expected.log_likelihood_ratio(trials.scores[inside]))
    assert np.isnan(found[~inside & ~outside]).all()


def test_a_half_is_fitted_on_the_chosen_trials_of_the_other_only() -> None:
    trials = crossed_trials()
    chosen = np.arange(len(trials.scores)) % 2 == 0
    trials.scores[~chosen] += np.where(trials.is_target[~chosen], 1.0, 0.0)  # the others would give a steeper slope
    found, plain = cross_fit(trials, 0.1, fitted_on=chosen).ratios, cross_fit(trials, 0.1).ratios
    held = np.isfinite(found)
    assert held.sum() == np.isfinite(plain).sum()
    assert (found[held] != plain[held]).all()


def test_the_threshold_of_a_half_accepts_the_rate_that_it_is_set_for() -> None:
    trials = crossed_trials(takes=40)
    accepted = cross_fit(trials, 0.1, target_far=0.01).accepted
    assert 0.005 < np.nanmean(accepted[~trials.is_target]) < 0.02
    assert np.isnan(cross_fit(trials, 0.1, target_far=0.0001).accepted).all()  # 7200 impostor trials do not support it


def test_speakers_too_few_to_be_halved_are_left_out() -> None:
    alone, one = np.array(["a", "a"]), np.ones(2)
    trials = ScoredTrials(np.array([0.9, 0.1]), np.array([True, False]), QualityMeasures(one, one, one), alone, alone)
    assert np.isnan(cross_fit(trials, 0.1).ratios).all()
