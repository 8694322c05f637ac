"""The figures of a slice, on made-up scores."""

import re

import numpy as np
import pytest

from mltraining.speech.evaluation import metrics, report, slices
from mltraining.speech.evaluation.conditions import CONDITIONS
from mltraining.speech.evaluation.figures import Figure
from mltraining.speech.evaluation.slices import cross_fit_conditions
from tests.support.scores import scored, separable


def value(figure: Figure | None) -> float:
    assert figure is not None and figure.value is not None
    return figure.value


def test_scores_that_separate_have_no_errors() -> None:
    audio, heard = separable(speakers=40, overlap=0.01)
    (part,) = slices.slices(audio, [heard])
    calibrated = cross_fit_conditions(audio, [heard], seed=0)
    found = slices.figures_of(part, calibrated["g711"], np.ones((3, 40)), np.arange(40) % 3)
    assert [value(found[name]) for name in ("eer", "min_dcf", "fnir", "min_cllr", "false_reject_rate")] == [0] * 5
    assert value(found["rank_one"]) == 1
    assert value(found["cllr"]) < 0.1


def test_an_unknown_speaker_who_resembles_a_customer_costs_misses() -> None:
    # Three speakers, each unknown in turn. Clips of the last score 0.9 for the first, and the first's own 0.8.
    scores = np.array([[0.8, 0.0, 0.0], [0.0, 1.0, 0.0], [0.9, 0.0, 1.0]])
    found = slices.fnir(scores, np.arange(3), np.ones((2, 3)), np.arange(3))
    # Third unknown: 0.9 must stay out, so of 0.8 and 1.0 one is missed. First or second unknown: none.
    assert found is not None and found[0] == pytest.approx((0 + 0 + 0.5) / 3)


def test_a_trial_is_calibrated_by_trials_of_other_speakers_only() -> None:
    audio, heard = separable()
    before = cross_fit_conditions(audio, [heard], seed=0)["g711"]
    has = np.isfinite(before.ratios)
    assert 0 < has.sum() < len(before.ratios)  # trials between the halves have none
    assert np.isnan(before.accepted).all()  # 36 impostor trials support no rate of 1 %
    changed = int(np.flatnonzero(has)[0])
    heard.scores[audio.clip[changed], audio.claimed[changed]] += 3
    after = cross_fit_conditions(audio, [heard], seed=0)["g711"]
    pairs = np.stack([audio.owner[audio.clip], audio.claimed])
    mine = np.isin(pairs, pairs[:, changed]).all(axis=0) & (np.arange(len(has)) != changed)
    assert mine.any()
    np.testing.assert_array_equal(before.ratios[mine], after.ratios[mine])
    assert (before.ratios != after.ratios)[has].sum() > 1  # the other half's do change


def test_the_threshold_is_set_for_one_percent_on_the_other_half() -> None:
    audio, heard = separable(speakers=60, takes=4, overlap=0.35)
    accepted = cross_fit_conditions(audio, [heard], seed=0)["g711"].accepted
    impostor = audio.owner[audio.clip] != audio.claimed
    rate = np.nanmean(accepted[impostor])
    assert 0.005 < rate < 0.02


def test_the_errors_at_the_operating_threshold_come_with_intervals_over_people() -> None:
    audio, heard = separable(speakers=60, takes=4, overlap=0.35)
    (part,) = slices.slices(audio, [heard])
    calibrated = cross_fit_conditions(audio, [heard], seed=0)["g711"]
    weights = metrics.resampled_speakers(60, 100, np.random.default_rng(1))
    found = slices.figures_of(part, calibrated, weights, np.arange(60) % 3)
    for name in ("eer", "false_accept_rate", "false_reject_rate"):
        figure = found[name]
        assert figure is not None and figure.low is not None and figure.high is not None
        assert 0 <= figure.low < value(figure) < figure.high < 1, name
        assert figure.speakers == 60
    assert 0.005 < value(found["false_accept_rate"]) < 0.02
    rate = found["false_accept_rate"]
    assert rate is not None
    cell = report.cell(rate.to_dict(), "false_accept_rate")
    assert re.fullmatch(r"\d\.\d\d \(\d\.\d\d–\d\.\d\d\)", cell), cell


def test_adults_errors_are_compared_by_gender() -> None:
    female = np.arange(40) < 20
    groups = {"female": female, "male": ~female, "adult": np.ones(40, dtype=bool)}
    audio, heard = separable(speakers=40, takes=4, overlap=0.2, groups=groups)
    women = np.flatnonzero(female[audio.owner])[::2]
    heard.scores[women, audio.owner[women]] -= 1  # half of the women's calls sound like strangers'
    calibrated = cross_fit_conditions(audio, [heard], seed=0)
    weights = np.ones((2, 40))
    found = slices.adults_by_gender(slices.slices(audio, [heard]), calibrated, weights)
    assert found is not None
    assert value(found.false_reject_rate["female"]) > 0.4
    assert value(found.false_reject_rate["male"]) < 0.1
    assert value(found.worst_over_best) > 4


def test_a_false_reject_rate_at_a_low_false_accept_rate_needs_enough_impostor_trials() -> None:
    audio, heard = separable(speakers=20, takes=4)  # 80 target and 1520 impostor trials
    (part,) = slices.slices(audio, [heard])
    fitted = cross_fit_conditions(audio, [heard], seed=0)["g711"]
    found = slices.figures_of(part, fitted, np.ones((3, 20)), np.arange(20) % 3)
    at_1, at_01 = found["false_reject_rate_at_1"], found["false_reject_rate_at_01"]
    assert at_1 is not None and at_1.value is not None
    assert at_01 is not None and at_01.value is None  # the rule of three asks for 3000


def test_the_same_trials_of_two_conditions_are_fitted_on_together() -> None:
    audio, heard = separable(speakers=20, takes=4)
    noisy = scored(heard.scores - 0.5, next(each for each in CONDITIONS if each.name == "g711-10db"))
    alone, both = (cross_fit_conditions(audio, each, seed=0) for each in ([heard], [heard, noisy]))
    np.testing.assert_array_equal(alone["g711"].ratios, both["g711"].ratios)  # what is noisy is not fitted on
    held = np.isfinite(both["g711"].ratios)
    assert (both["g711-10db"].ratios[held] < both["g711"].ratios[held]).all()
