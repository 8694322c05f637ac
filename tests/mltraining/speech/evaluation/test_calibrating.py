import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mltraining.speech import cli
from mltraining.speech.evaluation import calibrating
from mltraining.speech.evaluation.calibrating import Trials, calibrate, read_trials
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.scores import Calibration, Conditions, UnsupportedRate
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.mltraining.speech.synthetic import voice, wav

SPEAKERS, CALLS = 6, 3
KINDS, RATE = ("accept", "reject"), r"([\d.]+) % \(95 %: ([\d.]+) to ([\d.]+) %\)"


def trials(random: np.random.Generator, speakers: int = 30, takes: int = 8) -> Trials:
    """Every speaker's takes against every speaker; what is scored is worth less the shorter the call."""
    names = np.array([f"s{number:02}" for number in range(speakers)])
    claimed, spoken = (np.repeat(each.ravel(), takes) for each in np.meshgrid(names, names))
    target = claimed == spoken
    conditions = Conditions(
        np.exp(random.uniform(0, 2, len(target))), np.full(len(target), 20.0), random.uniform(5, 35, len(target))
    )
    scores = np.where(target, 0.6, 0.1) + random.normal(0, 0.15, len(target)) + 0.1 * conditions.features()[0]
    return Trials(scores, target, conditions, claimed, spoken)


def test_the_threshold_holds_the_rate_and_the_ratios_improve():
    found = calibrate(trials(np.random.default_rng(1)), target_far=0.01, in_force=Calibration.of(5, 0, 0.1))
    assert 0.009 < found.rates.false_accept_rate <= 0.01
    assert found.rates.false_accept_interval[0] < 0.01 < found.rates.false_accept_interval[1]
    assert found.calibration.prior == 0.1 and found.calibration.weights[1] == 0  # enrollments did not vary
    assert found.threshold == pytest.approx(found.calibration.probability(found.llr_threshold))
    assert found.cllr_after < 0.8 * found.cllr_before
    assert found.min_cllr <= found.cllr_after < found.min_cllr + 0.05
    assert (found.target_trials, found.impostor_trials, found.speakers) == (240, 6960, 30)

    fresh = trials(np.random.default_rng(2))
    ratios = found.calibration.log_likelihood_ratio(fresh.scores, fresh.conditions)
    accepted = found.calibration.probability(ratios) >= found.threshold
    assert 0.005 < accepted[~fresh.is_target].mean() < 0.02


def test_the_rule_of_three_is_held_before_anything_is_fitted():
    with pytest.raises(UnsupportedRate, match="needs at least 30000 impostor trials, there are 6960"):
        calibrate(trials(np.random.default_rng(1)), target_far=0.0001, in_force=Calibration.of(5, 0, 0.1))


def test_another_prior_moves_the_probability_and_not_the_decisions():
    given = trials(np.random.default_rng(1))
    for prior in (0.01, 0.9):
        found = calibrate(given, target_far=0.05, in_force=Calibration.of(5, 0, 0.1), prior=prior)
        ratios = found.calibration.log_likelihood_ratio(given.scores, given.conditions)
        accepted = found.calibration.probability(ratios) >= found.threshold
        assert accepted[~given.is_target].mean() == pytest.approx(0.05, abs=0.001)
        assert found.calibration.prior == prior


def test_speakers_too_few_for_halves_are_said_and_calibrated():
    found = calibrate(
        trials(np.random.default_rng(1), speakers=2, takes=40), target_far=0.1, in_force=Calibration.of(5, 0, 0.1)
    )
    assert found.cllr_after is None
    assert "not measurable" in "\n".join(found.lines())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
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


def test_trials_are_read_with_who_speaks_and_under_which_conditions(recorded):
    pipeline = ScoringPipeline.load(recorded / "pipeline")
    enrollment, table = pd.read_csv(recorded / "enrollment.csv"), pd.read_csv(recorded / "trials.csv")
    found = read_trials(pipeline, enrollment, table, recorded)
    assert (len(found.scores), found.left_out) == (SPEAKERS * SPEAKERS * CALLS, 2)
    assert ((found.speakers == found.test_speakers) == found.is_target).all()
    assert (found.conditions.test_speech_seconds > 0.5).all() and (found.conditions.snr_db > 0).all()
    with pytest.raises(ValueError, match="target is 1 or 0, not 'yes'"):
        read_trials(pipeline, enrollment, table.assign(target="yes"), recorded)


def test_a_folder_is_calibrated_from_the_command_line(recorded, tmp_path, capsys):
    folder = Path(shutil.copytree(recorded / "pipeline", tmp_path / "pipeline"))
    tables = ["--enrollment", "enrollment.csv", "--trials", "trials.csv", "--audio-root", ""]
    tables[1::2] = [str(recorded / name) for name in tables[1::2]]
    before = (folder / "pipeline.json").read_text()
    assert cli.main(["calibrate", str(folder), *tables, "--target-far", "0.1", "--dry-run"]) == 0
    assert (folder / "pipeline.json").read_text() == before
    assert "left out" in capsys.readouterr().out
    assert calibrating.main([str(folder), *tables, "--target-far", "0.01"]) == 2
    assert capsys.readouterr().err.startswith("unsupported_rate: ")
    assert (folder / "pipeline.json").read_text() == before
    assert calibrating.main([str(folder), *tables, "--target-far", "0.1"]) == 0
    *figures, printed = capsys.readouterr().out.splitlines()
    rates = {name: re.search(rf"^false {name}s: {RATE}$", "\n".join(figures), re.MULTILINE) for name in KINDS}
    for found in rates.values():
        assert found is not None
        rate, low, high = map(float, found.groups())
        assert low <= rate <= high and low < high
    assert json.loads(printed.removeprefix("calibration: ")) == ScoringPipeline.load(folder).calibration.to_dict()
