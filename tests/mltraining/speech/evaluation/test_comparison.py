"""Champion and challenger on made-up scores."""

import numpy as np
import pytest

from mltraining.speech.evaluation.comparison import compare
from mltraining.speech.evaluation.conditions import CONDITIONS, G711, Condition, ConditionScores, TrialAudio
from mltraining.speech.evaluation.figures import Trials
from mltraining.speech.evaluation.trials import EvaluationError
from mltraining.speech.scoring.calibration import Calibration
from tests.support.scores import Groups, every_trial, scored

SPEAKERS, TAKES = 40, 4


def trials(groups: Groups | None = None) -> TrialAudio:
    return every_trial(np.repeat(np.arange(SPEAKERS), TAKES), SPEAKERS, groups)


def model(
    data: TrialAudio, *, separation: float | np.ndarray, seed: int = 0, condition: Condition = G711
) -> ConditionScores:
    """Scores of unit variance; ``separation`` of each clip's own score from the strangers'."""
    scores = np.random.default_rng(seed).normal(size=(len(data.owner), SPEAKERS))
    scores[np.arange(len(data.owner)), data.owner] += separation
    return scored(scores, condition)


def test_a_model_that_separates_better_is_better() -> None:
    data = trials()
    verdict = compare(data, [model(data, separation=2.5)], [model(data, separation=4.5, seed=1)])
    assert verdict.better
    assert {each.figure for each in verdict.differences} == {"eer", "false_reject_rate_at_1"}
    assert all(each.change.value < 0 and each.challenger < each.champion for each in verdict.differences)
    assert all(reason.startswith("better, g711: ") for reason in verdict.reasons)


def test_every_difference_says_on_how_many_trials_and_speakers_it_rests() -> None:
    data = trials({"female": np.arange(SPEAKERS) < SPEAKERS // 4})
    counts = {
        each.slice: each.trials
        for each in compare(data, [model(data, separation=2)], [model(data, separation=3)]).differences
    }
    assert counts["g711"] == Trials(SPEAKERS * TAKES, SPEAKERS * TAKES * (SPEAKERS - 1), SPEAKERS)
    assert counts["g711-female"] == Trials(40, 360, 10)


def test_the_ratios_of_both_models_are_kept_as_their_calibrations_read_them() -> None:
    data = trials()
    scores = [model(data, separation=4)]
    read_by = Calibration.of(1.0, 0.0, 0.5), Calibration.of(1.0, -6.0, 0.5)
    verdict = compare(data, scores, scores, calibrations=read_by)
    assert verdict.condition == "g711"
    edges = np.array(verdict.distributions["champion"]["edges"][:-1])
    champion, challenger = (
        float(edges @ np.array(verdict.distributions[name]["target"])) for name in ("champion", "challenger")
    )
    assert champion - challenger == pytest.approx(6, abs=0.1)
    assert compare(data, scores, scores).distributions == {}


def test_the_same_model_is_not_better() -> None:
    data = trials()
    champion = model(data, separation=2.5)
    verdict = compare(data, [champion], [champion])
    assert not verdict.better
    assert [each.change.value for each in verdict.differences] == [0, 0]
    assert all("not better beyond the interval" in reason for reason in verdict.reasons)


def test_a_model_within_the_interval_is_not_better() -> None:
    data = trials()
    verdict = compare(data, [model(data, separation=2.5)], [model(data, separation=2.5, seed=1)])
    assert not verdict.better


def test_a_model_that_is_worse_for_one_group_is_refused_though_it_is_better_for_all() -> None:
    female = np.arange(SPEAKERS) < SPEAKERS // 4
    data = trials({"female": female})
    theirs = np.where(female[data.owner], 1.5, 6.0)
    verdict = compare(data, [model(data, separation=3)], [model(data, separation=theirs, seed=1)])
    assert not verdict.better
    assert any(reason.startswith("worse, g711-female: ") for reason in verdict.reasons)


def test_a_model_that_is_worse_in_another_channel_is_refused() -> None:
    data = trials()
    gsm = next(condition for condition in CONDITIONS if condition.name == "gsm")
    champion = [model(data, separation=2.5), model(data, separation=4, condition=gsm)]
    challenger = [model(data, separation=4.5, seed=1), model(data, separation=2, seed=1, condition=gsm)]
    verdict = compare(data, champion, challenger)
    assert not verdict.better
    assert {reason.split(":")[0] for reason in verdict.reasons} == {"worse, gsm", "better, g711"}


def test_a_paired_comparison_sees_what_two_intervals_would_hide() -> None:
    data = trials()
    random = np.random.default_rng(3)
    hard = np.repeat(random.normal(0, 1.5, SPEAKERS), TAKES)  # speakers differ more than the models do
    champion = model(data, separation=2.5 + hard)
    challenger = model(data, separation=3.1 + hard)
    eer = compare(data, [champion], [challenger]).differences[0]
    assert eer.change.high < 0
    assert eer.change.high - eer.change.low < 2 * abs(eer.champion - eer.challenger)


def test_the_verdict_is_the_same_again() -> None:
    data = trials()
    models = [model(data, separation=2.5)], [model(data, separation=2.8, seed=1)]
    assert compare(data, *models) == compare(data, *models)


def test_without_trials_there_is_no_verdict() -> None:
    with pytest.raises(EvaluationError, match="no condition"):
        compare(trials(), [], [])
