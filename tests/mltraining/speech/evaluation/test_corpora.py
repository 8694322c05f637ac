"""Calibration across corpora: each weighs the same, and each is judged by the others."""

import json
from pathlib import Path

import numpy as np
import pytest

from mltraining.speech import cli
from mltraining.speech.evaluation.corpora import leave_one_out, markdown
from mltraining.speech.evaluation.fitting import distribution, fit_evenly
from mltraining.speech.evaluation.trials import EvaluationError, ScoredTrials
from mltraining.speech.scoring.calibration import threshold_for
from mltraining.speech.scoring.quality_measures import QualityMeasures
from tests.support.model import export_untrained
from tests.support.training_data import write_trials


def corpus(shift: float, targets: int = 400, impostors: int = 4000, seed: int = 0) -> ScoredTrials:
    """Trials whose impostors score ``shift`` higher than elsewhere."""
    random = np.random.default_rng(seed)
    scores = np.concatenate([random.normal(4, 1, targets), random.normal(shift, 1, impostors)])
    count = len(scores)
    same = np.full(count, 5.0)
    speakers = random.integers(0, 40, count).astype(object)
    return ScoredTrials(
        scores, np.arange(count) < targets, QualityMeasures(same, same, 4 * same), speakers, speakers.copy()
    )


def test_each_corpus_is_judged_by_what_the_others_fit() -> None:
    quiet, loud = leave_one_out({"quiet": corpus(0.0, seed=1), "loud": corpus(1.5, seed=2)})
    assert quiet.false_accept_rate is not None and loud.false_accept_rate is not None
    assert quiet.false_accept_rate < 0.002  # the threshold of the loud corpus is too strict for it
    assert loud.false_accept_rate > 0.1  # and the other way around
    assert loud.cllr - loud.min_cllr > 0.02
    alike = leave_one_out({"one": corpus(0.0, seed=1), "other": corpus(0.0, seed=2)})
    assert all(0.005 < (each.false_accept_rate or 0) < 0.02 for each in alike)
    assert (quiet.target_trials, quiet.impostor_trials, quiet.speakers) == (400, 4000, 40)


def test_a_corpus_of_few_trials_weighs_as_much_as_one_of_many() -> None:
    many, few = corpus(0.0, impostors=8000, seed=1), corpus(1.5, targets=100, impostors=1000, seed=2)
    calibration = fit_evenly([many, few], fitting_prior=0.01, prior=0.5)
    threshold = calibration.threshold_at(0.01)
    assert threshold is not None

    def far(trials: ScoredTrials) -> float:
        ratios = calibration.log_likelihood_ratio(trials.scores, trials.measures)
        return float((calibration.probability(ratios) >= threshold)[~trials.is_target].mean())

    assert (far(many) + far(few)) / 2 == pytest.approx(0.01, abs=1e-3)
    assert far(few) > 5 * far(many)


def test_the_distribution_of_a_calibration_gives_each_corpus_the_same_weight() -> None:
    many, few = corpus(0.0, impostors=8000, seed=1), corpus(1.5, targets=100, impostors=1000, seed=2)
    calibration = fit_evenly([many, few], fitting_prior=0.01, prior=0.5)
    found, of_many, of_few = (distribution(each, calibration) for each in ([many, few], [many], [few]))
    assert len(found["edges"]) == len(found["target"]) + 1 == len(found["impostor"]) + 1
    for name in ("target", "impostor"):
        assert sum(found[name]) == pytest.approx(1, abs=1e-4)  # what lies beyond the edges counts in the last bins
        assert found[name] == pytest.approx(np.mean([of_many[name], of_few[name]], axis=0), abs=1e-5)
    threshold = np.searchsorted(found["edges"], 0.0)
    assert sum(found["impostor"][threshold:]) < 0.1 < 0.9 < sum(found["target"][threshold:])


def test_a_threshold_counts_each_impostor_by_its_weight() -> None:
    impostor = np.arange(1000.0)
    weights = np.ones(1000)
    assert threshold_for(np.array([2000.0]), impostor, 0.01) == pytest.approx(989.5)
    weights[-10:] = 100.0  # the ten highest weigh as much as all others together
    assert threshold_for(np.array([2000.0]), impostor, 0.01, weights) == pytest.approx(1499.5)


def test_fewer_than_two_corpora_are_refused() -> None:
    with pytest.raises(EvaluationError) as refused:
        leave_one_out({"alone": corpus(0.0)})
    assert refused.value.code == "too_few_corpora"


def test_the_table_has_the_worst_and_the_mean_and_a_dash_where_the_trials_are_too_few() -> None:
    small = corpus(0.0, targets=50, impostors=200, seed=3)
    text = markdown(leave_one_out({"one": corpus(0.0, seed=1), "small": small}))
    assert text.splitlines()[2].startswith("| one | 400 | 4,000 | ")
    assert "| – | – |" in text.splitlines()[2]  # 200 impostor trials support no threshold for 1 %
    assert "worst" in text


def test_the_command_puts_what_all_corpora_fit_into_the_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = export_untrained(tmp_path / "pipeline", seed=1)
    one, other = (write_trials(tmp_path / name, takes=6) for name in ("one", "other"))
    command = [
        "evaluate-corpora",
        "--pipeline",
        str(pipeline),
        "--corpus",
        f"one={one}",
        "--calls",
        f"calls={other}",
    ]
    assert cli.main([*command, "--recalibrate", "--strangers"]) == 0
    assert "| calls | 30 | 120 |" in capsys.readouterr().out
    described = json.loads((pipeline / "pipeline.json").read_text())["calibrated_on"]
    assert described["strangers"] and described["source"] == "trials of one, calls"
    # Each recording counts once, through however many lines it was heard.
    assert (described["target_trials"], described["impostor_trials"]) == (60, 240)
    assert sum(described["distribution"]["impostor"]) == pytest.approx(1, abs=1e-4)
    assert cli.main([*command[:3], "--corpus", f"one={one}"]) == 2
    assert "too_few_corpora" in capsys.readouterr().err
