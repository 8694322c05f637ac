"""Error rates and costs, against values computed by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.figures import percentile_interval

Resampled = tuple[np.ndarray, np.ndarray, np.ndarray]  # scores, targets, weights

TARGET = np.array([1.0, 3.0, 4.0, 6.0])
IMPOSTOR = np.array([0.0, 2.0, 2.5, 5.0])


def min_dcf(target: np.ndarray, impostor: np.ndarray, prior: float = 0.01) -> float:
    return float(metrics.ResampledTrials.once(target, impostor).min_dcf(prior)[0])


def actual_dcf(target: np.ndarray, impostor: np.ndarray, prior: float = 0.01) -> float:
    return float(metrics.ResampledTrials.once(target, impostor).actual_dcf(prior)[0])


def false_reject_rate_at(target: np.ndarray, impostor: np.ndarray, rate: float) -> float:
    return float(metrics.ResampledTrials.once(target, impostor).false_reject_rate_at(rate)[0])


def test_the_area_is_the_share_of_pairs_in_order_with_ties_counting_half() -> None:
    # Of 16 pairs: 1 beats one, 3 and 4 beat three, 6 beats four.
    assert metrics.area_under_curve(TARGET, IMPOSTOR) == 11 / 16
    assert metrics.area_under_curve(np.array([1.0, 2.0]), np.array([1.0])) == 0.75
    assert metrics.area_under_curve(np.ones(5), np.ones(7)) == 0.5
    assert metrics.area_under_curve(IMPOSTOR - 10, TARGET) == 0


def test_the_roc_auc_is_the_mean_over_the_classes_that_have_clips() -> None:
    truth = np.array([0, 0, 1])
    scores = np.array([[0.9, 0.2, 0.0], [0.1, 0.6, 0.0], [0.5, 0.4, 0.0]])
    # Class 0: 0.9 and 0.1 against 0.5 is 1/2. Class 1: 0.4 against 0.2 and 0.6 is 1/2. Class 2 has no clip.
    assert metrics.roc_auc(truth, scores) == 0.5
    scores[2, 1] = 0.7
    assert metrics.roc_auc(truth, scores) == 0.75
    with pytest.raises(ValueError, match="two classes"):
        metrics.roc_auc(np.array([0, 0]), scores[:2])


def test_rank_one_counts_clips_whose_own_class_is_above_every_other() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.1, 0.2, 0.8], [0.3, 0.2, 0.1]])
    assert metrics.rank_one(np.array([0, 1, 2, 1]), scores) == 0.5  # the second is a tie, the fourth a miss


def test_operating_points_run_from_accepting_all_to_accepting_none() -> None:
    miss, false_accept = metrics.operating_points(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(miss, [0, 0, 0.5, 1])
    np.testing.assert_allclose(false_accept, [1, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("target", "impostor", "expected"),
    [
        (TARGET, IMPOSTOR, 0.25),  # at a threshold of 3: one target of four below, one impostor of four above
        ([2.0, 3.0], [0.0, 1.0], 0.0),
        ([0.0, 1.0], [2.0, 3.0], 1.0),
        ([1.0], [1.0], 0.5),
        ([1.0, 2.0], [0.0, 1.0], 0.25),  # between (0, 1/2) and (1/2, 0)
    ],
)
def test_the_equal_error_rate_is_where_both_errors_meet(
    target: list[float], impostor: list[float], expected: float
) -> None:
    assert metrics.equal_error_rate(np.array(target), np.array(impostor)) == pytest.approx(expected)


def test_the_equal_error_rate_of_two_normal_distributions_is_that_of_theory() -> None:
    random = np.random.default_rng(1)
    target, impostor = random.normal(2, 1, 200_000), random.normal(0, 1, 200_000)
    assert metrics.equal_error_rate(target, impostor) == pytest.approx(0.158655, abs=0.002)  # Phi(-1)


def test_the_detection_cost_weighs_misses_and_false_accepts_by_the_prior() -> None:
    # At even odds: thresholds 3 (miss 1/4, false accept 1/4) and 6 (3/4, 0): the least cost is 1/2.
    assert min_dcf(TARGET, IMPOSTOR, 0.5) == pytest.approx(0.5)
    # At 1 %, a false accept costs 99 misses: accepting only 6 costs 3/4.
    assert min_dcf(TARGET, IMPOSTOR, 0.01) == pytest.approx(0.75)
    assert min_dcf(TARGET + 10, IMPOSTOR, 0.01) == 0
    assert min_dcf(TARGET - 10, IMPOSTOR, 0.01) == 1  # refusing everybody is always open


def test_the_actual_cost_takes_the_threshold_of_bayes() -> None:
    # ln 99 = 4.6: targets 1, 3, 4 are missed, the impostor at 5 is let in: (0.01 * 3/4 + 0.99 * 1/4) / 0.01.
    assert actual_dcf(TARGET, IMPOSTOR, 0.01) == pytest.approx(25.5)
    assert actual_dcf(TARGET, IMPOSTOR, 0.5) == pytest.approx(1.0)  # threshold 0: all are let in


def test_cllr_is_one_for_no_knowledge_and_as_computed_by_hand() -> None:
    assert metrics.cllr(np.zeros(3), np.zeros(5)) == pytest.approx(1)
    # ln 3 for a target: log2(4/3); -ln 3 for one impostor: log2(4/3), +ln 3 for the other: log2(4).
    expected = (math.log2(4 / 3) + (math.log2(4 / 3) + 2) / 2) / 2
    assert metrics.cllr(np.array([math.log(3)]), np.array([-math.log(3), math.log(3)])) == pytest.approx(expected)
    assert metrics.cllr(np.array([800.0]), np.array([-800.0])) == 0
    assert math.isfinite(metrics.cllr(np.array([-800.0]), np.array([800.0])))


def test_the_least_cllr_pools_adjacent_violators() -> None:
    # Sorted: i t i t. The middle two violate and pool to even odds: each of the four trials is worth 0, 1, 1, 0 bits.
    assert metrics.min_cllr(np.array([1.0, 3.0]), np.array([0.0, 2.0])) == pytest.approx(0.5)
    assert metrics.min_cllr(np.array([5.0, 6.0]), np.array([1.0, 2.0, 3.0])) == 0
    assert metrics.min_cllr(np.array([1.0]), np.array([2.0])) == pytest.approx(1)
    assert metrics.min_cllr(np.array([1.0, 1.0]), np.array([1.0])) == pytest.approx(1)


def test_the_least_cllr_is_never_above_the_actual_one_and_sees_no_monotone_change() -> None:
    random = np.random.default_rng(2)
    target, impostor = random.normal(1, 1, 500), random.normal(-1, 1, 900)
    least = metrics.min_cllr(target, impostor)
    assert least < metrics.cllr(target, impostor)
    assert metrics.min_cllr(np.exp(target) + 3, np.exp(impostor) + 3) == pytest.approx(least)


@pytest.mark.parametrize("measure", [metrics.equal_error_rate, metrics.area_under_curve, metrics.cllr])
def test_empty_sets_and_what_is_not_a_number_are_refused(measure: Callable[[np.ndarray, np.ndarray], float]) -> None:
    for target, impostor in (([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.nan])):
        with pytest.raises(ValueError, match="error rates need"):
            measure(np.array(target), np.array(impostor))


def test_the_false_reject_rate_is_taken_at_the_lowest_threshold_that_holds_the_false_accepts() -> None:
    assert false_reject_rate_at(TARGET, IMPOSTOR, 0.25) == 0.25  # 3 lets in one impostor of four
    assert false_reject_rate_at(TARGET, IMPOSTOR, 0.24) == 0.75  # 6 lets in none
    assert false_reject_rate_at(TARGET, IMPOSTOR, 1.0) == 0
    assert false_reject_rate_at(TARGET - 10, IMPOSTOR, 0.0) == 1


def test_a_search_misses_where_another_ranks_first_or_the_threshold_for_strangers_is_higher() -> None:
    own, rival = np.array([9.0, 5.0, 8.0, 4.0]), np.array([1.0, 1.0, 8.5, 1.0])
    unknown = np.array([6.0, 4.5, 2.0, 1.0])
    # One stranger in four may pass: above 4.5. 8 is outranked, 4 too low.
    assert metrics.fnir_at_fpir(own, rival, unknown, 0.25) == [0.5]
    assert metrics.fnir_at_fpir(own, rival, unknown, 0.24) == [0.75]  # above 6
    assert metrics.fnir_at_fpir(own, rival, unknown, 1.0) == [0.25]
    weights = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found = metrics.fnir_at_fpir(own, rival, unknown, 0.25, weights, np.ones((2, 4)))
    assert found[0] == 0.5
    assert math.isnan(found[1])


@pytest.fixture
def resampled() -> Resampled:
    """Scores with ties, and weights: as they are, and two ways of repeating or leaving out."""
    random = np.random.default_rng(4)
    target = random.random(60) < 0.3
    scores = np.round(random.normal(target * 1.5, 1), 1)
    weights = np.stack([np.ones(60), *random.integers(0, 4, size=(2, 60))]).astype(float)
    return scores, target, weights


def test_a_resample_gives_what_the_repeated_trials_give(resampled: Resampled) -> None:
    scores, target, weights = resampled
    trials = metrics.ResampledTrials(scores, target, weights)
    for row, weight in enumerate(weights.astype(int)):
        own, other = np.repeat(scores[target], weight[target]), np.repeat(scores[~target], weight[~target])
        assert trials.equal_error_rate()[row] == pytest.approx(metrics.equal_error_rate(own, other))
        assert trials.min_dcf()[row] == pytest.approx(min_dcf(own, other))
        assert trials.min_cllr()[row] == pytest.approx(metrics.min_cllr(own, other))
        assert trials.false_reject_rate_at(0.1)[row] == pytest.approx(false_reject_rate_at(own, other, 0.1))
        assert trials.cllr()[row] == pytest.approx(metrics.cllr(own, other))
        assert trials.actual_dcf(0.2)[row] == pytest.approx(actual_dcf(own, other, 0.2))


def test_a_resample_without_targets_has_no_rates_and_is_left_out_of_the_interval(resampled: Resampled) -> None:
    scores, target, weights = resampled
    weights[2, target] = 0
    trials = metrics.ResampledTrials(scores, target, weights)
    for values in (trials.equal_error_rate(), trials.false_reject_rate_at(0.1), trials.min_cllr(), trials.min_dcf()):
        assert math.isnan(values[2])
        assert percentile_interval(values) == (values[1], values[1])


def test_speakers_are_drawn_with_replacement_and_the_first_draw_is_the_data() -> None:
    drawn = metrics.resampled_speakers(7, 50, np.random.default_rng(0))
    assert drawn.shape == (51, 7)
    assert (drawn[0] == 1).all()
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn[1:] == 0).any() and (drawn[1:] > 1).any()


def test_the_interval_over_speakers_covers_the_truth() -> None:
    # 30 speakers, each with an error rate of its own around 20 %: an interval over trials alone would be too narrow.
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        owner = np.repeat(np.arange(30), 20)
        errors = (random.random(600) < random.beta(1, 4, size=30)[owner]).astype(float)
        weights = metrics.resampled_speakers(30, 200, random)[:, owner]
        interval = percentile_interval(metrics.weighted_mean(errors, weights))
        covered += interval is not None and interval[0] <= 0.2 <= interval[1]
    assert covered >= 86
