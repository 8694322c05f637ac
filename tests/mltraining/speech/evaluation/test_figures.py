"""Figures with their intervals, and when there are too few trials for one."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mltraining.speech.evaluation.figures import Figure, Trials
from mltraining.speech.evaluation.intervals import rate_interval

ENOUGH = Trials(target_trials=100, impostor_trials=900, speakers=20)


def test_a_figure_is_null_where_fewer_trials_than_support_it_stand_behind_it() -> None:
    """Three customers gave 3 target and 6 impostor trials, and "EER 0.0000" was shown of them."""
    few = Trials(target_trials=3, impostor_trials=6, speakers=3)
    assert Figure.of_resamples(np.zeros(201), few, is_rate=True).to_dict() == {
        "value": None, "low": None, "high": None, "target_trials": 3, "impostor_trials": 6, "speakers": 3,
    }  # fmt: skip
    accuracy = Figure.of_rate(1.0, 3, few)
    assert (accuracy.value, accuracy.low, accuracy.high) == (None, 0.0, 1.0)  # the rule of three says nothing at all
    assert accuracy.percent() == "too few trials (95 %: 0.00 to 100.00 %)"


def test_a_rate_at_a_low_false_accept_rate_needs_the_impostor_trials_that_support_it() -> None:
    values = np.full(201, 0.2)
    assert Figure.of_resamples(values, ENOUGH, impostors=300).value == 0.2
    assert Figure.of_resamples(values, ENOUGH, impostors=3000).value is None


def test_the_interval_of_no_error_ends_no_lower_than_the_rule_of_three() -> None:
    none, all_ = (Figure.of_resamples(np.full(201, rate), ENOUGH, is_rate=True) for rate in (0.0, 1.0))
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.03)  # 3 / 100 target trials
    assert (all_.value, all_.low, all_.high) == (1.0, 0.97, 1.0)
    cost = Figure.of_resamples(np.zeros(201), ENOUGH)  # a cost is no rate
    assert (cost.low, cost.high) == (0.0, 0.0)


def test_a_figure_has_the_percentiles_of_its_resamples() -> None:
    values = np.concatenate([[0.5], np.arange(1001) / 1000, [np.nan]])
    found = Figure.of_resamples(values, ENOUGH)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))
    assert Figure.of_resamples(np.array([0.5, np.nan]), ENOUGH).low is None


def test_a_rate_comes_with_wilsons_interval() -> None:
    found = Figure.of_errors(np.arange(100) < 25, ENOUGH)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.1755, 0.3430), abs=1e-4)
    assert found.percent() == "25.00 % (95 %: 17.55 to 34.30 %)"


@pytest.mark.parametrize(("errors", "trials"), [(5, 50), (20, 40), (1, 300), (99, 100)])
def test_the_interval_of_a_rate_is_the_one_that_scipy_calls_wilsons(errors: int, trials: int) -> None:
    expected = binomtest(errors, trials).proportion_ci(method="wilson")
    assert rate_interval(errors / trials, trials) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_no_error_in_n_trials_supports_no_less_than_three_in_n() -> None:
    assert rate_interval(0, 300) == pytest.approx((0, 3.84 / 303.84), abs=1e-4)
    assert rate_interval(0, 300)[1] >= 0.01
    assert rate_interval(0, 1)[1] == 1
    assert rate_interval(1, 5) == pytest.approx((0.4, 1), abs=1e-6)


def test_trials_are_counted_by_kind_and_by_everybody_who_claims_or_speaks() -> None:
    found = Trials.of(np.array([True, False, False]), np.array(["a", "a", "b"]), np.array(["a", "c", "a"]))
    assert found == Trials(target_trials=1, impostor_trials=2, speakers=3)
