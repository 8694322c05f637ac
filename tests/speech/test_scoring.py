import math

import numpy as np
import pytest

from mltraining.speech.metrics import cllr, min_cllr
from mltraining.speech.scoring import Calibration, cosine, fit_calibration, mean_voiceprint


def test_cosine_scores_one_embedding_against_every_voiceprint():
    voiceprints = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    np.testing.assert_allclose(cosine(np.array([0.6, 0.8], dtype=np.float32), voiceprints), [0.6, 0.8, -0.6])


def test_a_voiceprint_is_the_direction_of_the_weighted_mean():
    embeddings = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = mean_voiceprint(embeddings, np.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [0.6, 0.8], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("embeddings", "weights"), [([[1, 0], [-1, 0]], [1, 1]), ([[1, 0]], [0]), ([[math.nan, 0]], [1])]
)
def test_embeddings_without_a_mean_direction_are_refused(embeddings, weights):
    with pytest.raises(ValueError, match="no mean direction"):
        mean_voiceprint(np.array(embeddings, dtype=float), np.array(weights))


def test_a_probability_is_the_posterior_of_the_ratio_and_the_prior():
    calibration = Calibration.of(10, -4, 0.2)
    assert calibration.log_likelihood_ratio(0.5) == 1
    assert calibration.probability(math.log(4)) == pytest.approx(0.5)  # odds 4 against a prior of 1 to 4
    assert calibration.probability(0.0) == pytest.approx(0.2)
    np.testing.assert_allclose(calibration.probability(np.array([-2000.0, 2000.0])), [0, 1])


def test_the_version_follows_the_numbers():
    assert Calibration.of(1, 2, 0.5).version == Calibration.of(1.0, 2.0, 0.5).version
    assert len({Calibration.of(*each).version for each in [(1, 2, 0.5), (1, 2, 0.4), (1, 3, 0.5), (2, 2, 0.5)]}) == 4


def test_calibration_recovers_the_ratios_of_two_normal_distributions():
    # Equal variances: the log-likelihood ratio is affine, (m1 - m0) / s² * x + (m0² - m1²) / (2 s²).
    random = np.random.default_rng(1)
    target, impostor = random.normal(0.6, 0.2, 60_000), random.normal(0.1, 0.2, 90_000)
    found = fit_calibration(target, impostor, 0.1)
    assert found.slope == pytest.approx(12.5, rel=0.03)
    assert found.offset == pytest.approx((0.01 - 0.36) / 0.08, rel=0.03)
    ratios = found.log_likelihood_ratio(target), found.log_likelihood_ratio(impostor)
    assert cllr(*ratios) == pytest.approx(min_cllr(*ratios), abs=0.01)


def test_the_ratios_do_not_depend_on_how_many_trials_of_a_kind_there_are():
    random = np.random.default_rng(1)
    target, impostor = random.normal(0.6, 0.2, 500), random.normal(0.1, 0.2, 500)
    once, often = fit_calibration(target, impostor, 0.1), fit_calibration(target, np.tile(impostor, 40), 0.1)
    assert often.slope == pytest.approx(once.slope)
    assert often.offset == pytest.approx(once.offset)


@pytest.mark.parametrize("prior", [0.001, 0.02, 0.5])
def test_trials_that_a_threshold_separates_give_a_finite_calibration(prior):
    found = fit_calibration(np.array([0.8, 0.9, 0.95]), np.array([-0.1, 0.0, 0.1, 0.2]), prior)
    assert 0 < found.slope < 1000
    assert found.log_likelihood_ratio(0.8) > 0 > found.log_likelihood_ratio(0.2)


@pytest.mark.parametrize(("target", "impostor"), [([0.5, 0.5], [0.5]), ([0.1, 0.2], [0.8, 0.9])])
def test_scores_without_evidence_leave_the_prior(target, impostor):
    found = fit_calibration(np.array(target), np.array(impostor), 0.3)
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
def test_a_calibration_of_nothing_is_refused(target, impostor, prior, message):
    with pytest.raises(ValueError, match=message):
        fit_calibration(np.array(target), np.array(impostor), prior)


def test_a_calibration_must_be_finite():
    for slope, offset, prior in ((math.inf, 0, 0.5), (1, math.nan, 0.5), (1, 0, 1.5)):
        with pytest.raises(ValueError, match="finite"):
            Calibration.of(slope, offset, prior)
