"""Figures for people: an interval and the trials behind each, and no 0 or 1 from a handful of trials."""

from typing import Any

from mltraining.figures import in_words, is_figure, with_intervals
from mltraining.speech.evaluation.intervals import rate_interval

# What a retrain on 3 customers with 22 clips gives.
RETRAINED = {"roc_auc": 1.0, "eer": 0.0, "rank_one": 1.0, "cllr": 0.2, "target_trials": 3, "impostor_trials": 6}


def test_perfect_figures_from_a_handful_of_trials_are_not_shown_as_0_or_1() -> None:
    found = with_intervals(RETRAINED)
    for name in ("roc_auc", "eer", "rank_one"):
        assert found[name]["value"] is None
        assert (found[name]["low"], found[name]["high"]) == (0.0, 1.0)  # 3 / 3 trials: nothing is known
        assert in_words(found[name]).startswith("too few trials (0 to 1; 3 target, 6 impostor trials")
    assert found["cllr"] == 0.2


def test_a_rate_has_the_interval_of_the_trials_that_it_is_a_share_of() -> None:
    found = with_intervals(
        {"eer": 0.05, "false_accept_rate": 0.01, "rank_one": 0.9, "target_trials": 40, "impostor_trials": 4000}
    )
    assert (found["eer"]["low"], found["eer"]["high"]) == rate_interval(0.05, 40)
    assert (found["rank_one"]["low"], found["rank_one"]["high"]) == rate_interval(0.9, 40)
    assert (found["false_accept_rate"]["low"], found["false_accept_rate"]["high"]) == rate_interval(0.01, 4000)
    assert in_words(found["rank_one"]) == "0.9 (0.769 to 0.96; 40 target, 4000 impostor trials)"


def test_no_error_is_bounded_by_the_rule_of_three() -> None:
    found = with_intervals({"false_accept_rate": 0.0, "target_trials": 40, "impostor_trials": 300})
    assert found["false_accept_rate"]["value"] == 0
    assert found["false_accept_rate"]["high"] >= 3 / 300


def test_a_group_takes_the_trials_of_the_group_around_it_and_measured_figures_stay() -> None:
    evaluated: dict[str, Any] = {"g711 eer": {"value": 0.04, "low": 0.02, "high": 0.07}}
    found = with_intervals(
        {"head": {"roc_auc": 0.9}, "evaluation": evaluated, "target_trials": 40, "impostor_trials": 400}
    )
    assert found["head"]["roc_auc"]["target_trials"] == 40
    assert found["evaluation"] == evaluated


def test_a_rate_without_a_number_of_trials_has_no_value() -> None:
    found = with_intervals({"roc_auc": 1.0})["roc_auc"]
    assert is_figure(found) and found["value"] is None
    assert in_words(found) == "not measurable (number of trials unknown)"
