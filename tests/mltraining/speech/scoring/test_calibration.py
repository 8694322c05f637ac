"""Applying a calibration: ratios, probabilities, thresholds and versions."""

import math

import numpy as np
import pytest

from mltraining.speech.scoring.calibration import Calibration, UnsupportedRate, threshold_for
from mltraining.speech.scoring.quality_measures import QualityMeasures


def test_a_probability_is_the_posterior_of_the_ratio_and_the_prior() -> None:
    calibration = Calibration.of(10, -4, 0.2)
    assert calibration.log_likelihood_ratio(0.5) == 1
    assert calibration.probability(math.log(4)) == pytest.approx(0.5)  # odds 4 against a prior of 1 to 4
    assert calibration.probability(0.0) == pytest.approx(0.2)
    np.testing.assert_allclose(calibration.probability(np.array([-2000.0, 2000.0])), [0, 1])


def test_the_version_follows_the_numbers() -> None:
    assert Calibration.of(1, 2, 0.5).version == Calibration.of(1.0, 2.0, 0.5).version
    assert len({Calibration.of(*each).version for each in [(1, 2, 0.5), (1, 2, 0.4), (1, 3, 0.5), (2, 2, 0.5)]}) == 4


def test_a_calibration_must_be_finite() -> None:
    for slope, offset, prior in ((math.inf, 0, 0.5), (1, math.nan, 0.5), (1, 0, 1.5)):
        with pytest.raises(ValueError, match="finite"):
            Calibration.of(slope, offset, prior)


def test_quality_measures_count_within_their_range() -> None:
    test, enrollment, snr = np.array([[0.1, 1.0, 500.0], [1.0, 5.0, 60.0], [-5.0, 20.0, 99.0]])
    found = QualityMeasures(test, enrollment, snr).features()
    expected = np.array([np.log([0.3, 1, 30]), np.log([4, 5, 20]), [0, 2, 4]])
    np.testing.assert_allclose(found, expected)
    assert QualityMeasures(1.0, 1.0, 10.0).features().shape == (3,)


def test_a_calibration_with_weights_needs_quality_measures_of_one_trial_or_of_many() -> None:
    calibration = Calibration.of(10, -4, 0.2, (2.0, 0.5, 1.0))
    one = QualityMeasures(math.e, math.e**2, 10.0)
    assert calibration.log_likelihood_ratio(0.5, one) == pytest.approx(1 + 2 + 1 + 1)
    np.testing.assert_allclose(calibration.log_likelihood_ratio(np.array([0.5, 0.6]), one), [5, 6])
    many = QualityMeasures(np.array([1.0, math.e]), math.e**2, 0.0)
    np.testing.assert_allclose(calibration.log_likelihood_ratio(np.array([0.5, 0.5]), many), [2, 4])
    with pytest.raises(ValueError, match="quality measures"):
        calibration.log_likelihood_ratio(0.5)
    assert Calibration.of(10, -4, 0.2).log_likelihood_ratio(0.5, one) == 1


def test_the_version_follows_the_weights_and_stays_that_of_old_without_any() -> None:
    assert Calibration.of(16, -8, 0.3).version == "59acb6a0f4ae"
    assert Calibration.of(16, -8, 0.3, (0.0, 0.0, 0.1)).version != Calibration.of(16, -8, 0.3).version


def test_a_calibration_survives_its_description() -> None:
    for calibration in (Calibration.of(16, -8, 0.3, (0.1, 0.2, 1 / 3)), Calibration.of(16, -8, 0.3)):
        assert Calibration.from_dict(calibration.to_dict()) == calibration
    old = {"slope": 16, "offset": -8, "prior": 0.3, "version": Calibration.of(16, -8, 0.3).version}
    assert Calibration.from_dict(old) == Calibration.of(16, -8, 0.3)
    with pytest.raises(ValueError, match="version"):
        Calibration.from_dict(old | {"weights": [0.0, 0.0, 0.1]})


def test_the_threshold_is_the_lowest_that_keeps_the_rate() -> None:
    impostor = np.arange(1000) / 1000  # 0 to 0.999
    target = np.array([0.5, 0.9895, 2.0])
    threshold = threshold_for(target, impostor, 0.01)
    assert (impostor >= threshold).sum() == 10 and 0.989 < threshold < 0.9895
    # Equal scores are accepted together or not at all.
    tied = np.where(impostor >= 0.98, 0.98, impostor)
    assert (tied >= threshold_for(target, tied, 0.01)).sum() == 0
    assert (tied >= threshold_for(target, tied, 0.02)).sum() == 20
    assert threshold_for(np.array([0.1]), np.ones(300), 0.01) == np.nextafter(1, 2)


def test_a_rate_that_the_trials_cannot_support_is_refused() -> None:
    with pytest.raises(UnsupportedRate, match="at least 300 impostor trials, there are 299") as refused:
        threshold_for(np.ones(10), np.zeros(299), 0.01)
    assert (refused.value.code, refused.value.needed, refused.value.trials) == ("unsupported_rate", 300, 299)
    assert threshold_for(np.ones(10), np.zeros(300), 0.01) == 0.5
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="between"):
            threshold_for(np.ones(10), np.zeros(300), rate)
