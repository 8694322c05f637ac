import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mltraining.speech import cli
from mltraining.speech.evaluation import metrics, recalibration
from mltraining.speech.evaluation.figures import Trials
from mltraining.speech.evaluation.recalibration import fit_on_trials
from mltraining.speech.evaluation.trials import EvaluationError, ScoredTrials, TrialList, score_labelled_trials
from mltraining.speech.scoring.calibration import Calibration, UnsupportedRate
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.quality_measures import QualityMeasures
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.support.audio import voice, wav

SPEAKERS, CALLS = 6, 6
KINDS, RATE = ("accept", "reject"), r"([\d.]+) % \(95 %: ([\d.]+) to ([\d.]+) %\)"


def trials(random: np.random.Generator, speakers: int = 30, takes: int = 8) -> ScoredTrials:
    """Every speaker's takes against every speaker; what is scored is worth less the shorter the call."""
    names = np.array([f"s{number:02}" for number in range(speakers)])
    claimed, spoken = (np.repeat(each.ravel(), takes) for each in np.meshgrid(names, names))
    target = claimed == spoken
    measures = QualityMeasures(
        np.exp(random.uniform(0, 2, len(target))), np.full(len(target), 20.0), random.uniform(5, 35, len(target))
    )
    scores = np.where(target, 0.6, 0.1) + random.normal(0, 0.15, len(target)) + 0.1 * measures.features()[0]
    return ScoredTrials(scores, target, measures, claimed, spoken)


def test_the_threshold_holds_the_rate_and_the_ratios_improve() -> None:
    found = fit_on_trials(trials(np.random.default_rng(1)), target_far=0.01, in_force=Calibration.of(5, 0, 0.1))
    rate = found.false_accept_rate
    assert rate.value is not None and rate.low is not None and rate.high is not None
    assert 0.009 < rate.value <= 0.01
    assert rate.low < 0.01 < rate.high
    assert found.calibration.prior == 0.1 and found.calibration.weights[1] == 0  # enrollments did not vary
    assert found.threshold == pytest.approx(found.calibration.probability(found.llr_threshold))
    assert found.cllr_after is not None and found.min_cllr is not None
    assert found.cllr_after < 0.8 * found.cllr_before
    assert found.min_cllr <= found.cllr_after < found.min_cllr + 0.05
    assert found.trials == Trials(target_trials=240, impostor_trials=6960, speakers=30)

    fresh = trials(np.random.default_rng(2))
    ratios = found.calibration.log_likelihood_ratio(fresh.scores, fresh.measures)
    accepted = found.calibration.probability(ratios) >= found.threshold
    assert 0.005 < accepted[~fresh.is_target].mean() < 0.02


def test_the_rule_of_three_is_held_before_anything_is_fitted() -> None:
    with pytest.raises(UnsupportedRate, match="needs at least 30000 impostor trials, there are 6960"):
        fit_on_trials(trials(np.random.default_rng(1)), target_far=0.0001, in_force=Calibration.of(5, 0, 0.1))


def test_another_prior_moves_the_probability_and_not_the_decisions() -> None:
    given = trials(np.random.default_rng(1))
    for prior in (0.01, 0.9):
        found = fit_on_trials(given, target_far=0.05, in_force=Calibration.of(5, 0, 0.1), prior=prior)
        ratios = found.calibration.log_likelihood_ratio(given.scores, given.measures)
        accepted = found.calibration.probability(ratios) >= found.threshold
        assert accepted[~given.is_target].mean() == pytest.approx(0.05, abs=0.001)
        assert found.calibration.prior == prior


def test_too_few_speakers_for_halves_are_calibrated_and_reported() -> None:
    found = fit_on_trials(
        trials(np.random.default_rng(1), speakers=2, takes=40), target_far=0.1, in_force=Calibration.of(5, 0, 0.1)
    )
    assert found.cllr_after is None
    assert "not measurable" in "\n".join(found.lines())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, and tables of trials with their audio, one clip of it broken."""
    folder = tmp_path_factory.mktemp("trials")
    build(folder / "pipeline", head=False)
    calls = [(speaker, take) for speaker in range(SPEAKERS) for take in range(1, CALLS + 1)]
    for speaker, take in [(speaker, 0) for speaker in range(SPEAKERS)] + calls:
        (folder / f"{speaker}-{take}.wav").write_bytes(wav(voice(speaker, seconds=3, take=take)))
    (folder / "broken.wav").write_bytes(b"RIFF")
    enrollment = pd.DataFrame([(f"v{speaker}", f"{speaker}-0.wav") for speaker in range(SPEAKERS)])
    table = pd.DataFrame(
        [
            (f"v{claimed}", f"{speaker}-{take}.wav", int(claimed == speaker))
            for claimed in range(SPEAKERS)
            for speaker, take in calls
        ]
        + [("v0", "broken.wav", 0), ("nobody", "1-1.wav", 0)]
    )
    enrollment.to_csv(folder / "enrollment.csv", index=False, header=["speaker", "audio"])
    table.to_csv(folder / "trials.csv", index=False, header=["speaker", "audio", "target"])
    return folder


def test_trials_are_scored_with_who_speaks_and_under_which_quality(recorded: Path, tmp_path: Path) -> None:
    given = TrialList.read(recorded / "enrollment.csv", recorded / "trials.csv", recorded)
    found = score_labelled_trials(ScoringPipeline.load(recorded / "pipeline"), given)
    assert (len(found.scores), found.left_out) == (SPEAKERS * SPEAKERS * CALLS, 2)
    assert ((found.speakers == found.test_speakers) == found.is_target).all()
    measured = found.measures
    assert np.all(np.asarray(measured.test_speech_seconds) > 0.5) and np.all(np.asarray(measured.snr_db) > 0)
    given.trials.assign(target="yes").to_csv(tmp_path / "trials.csv", index=False)
    with pytest.raises(EvaluationError, match="target is 1 or 0, not 'yes'"):
        TrialList.read(recorded / "enrollment.csv", tmp_path / "trials.csv", recorded)


def test_a_folder_is_calibrated_from_the_command_line(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(recorded / "pipeline", tmp_path / "pipeline"))
    tables = ["--enrollment", "enrollment.csv", "--trials", "trials.csv", "--audio-root", ""]
    tables[1::2] = [str(recorded / name) for name in tables[1::2]]
    before = (folder / "pipeline.json").read_text()
    assert cli.main(["calibrate", str(folder), *tables, "--target-far", "0.1", "--dry-run"]) == 0
    assert (folder / "pipeline.json").read_text() == before
    assert "left out" in capsys.readouterr().out
    assert recalibration.main([str(folder), *tables, "--target-far", "0.01"]) == 2
    assert capsys.readouterr().err.startswith("unsupported_rate: ")
    assert (folder / "pipeline.json").read_text() == before
    assert recalibration.main([str(folder), *tables, "--target-far", "0.1"]) == 0
    *figures, printed = capsys.readouterr().out.splitlines()
    rates = {name: re.search(rf"^false {name}s: {RATE}$", "\n".join(figures), re.MULTILINE) for name in KINDS}
    for found in rates.values():
        assert found is not None
        rate, low, high = map(float, found.groups())
        assert low <= rate <= high and low < high
    given = TrialList.read(recorded / "enrollment.csv", recorded / "trials.csv", recorded)
    scored = score_labelled_trials(ScoringPipeline.load(folder), given)
    eer = 100 * metrics.equal_error_rate(scored.scores[scored.is_target], scored.scores[~scored.is_target])
    assert any(line.startswith(f"equal error rate: {eer:.2f} % (95 %: ") for line in figures)
    assert json.loads(printed.removeprefix("calibration: ")) == ScoringPipeline.load(folder).calibration.to_dict()
