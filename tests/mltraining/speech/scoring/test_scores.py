import math

import numpy as np
import pytest

from mltraining.speech.evaluation.metrics import cllr, equal_error_rate, min_cllr
from mltraining.speech.scoring.scores import (
    Calibration,
    Cohort,
    Conditions,
    UnsupportedRate,
    cosine,
    cross_fit,
    fit_calibration,
    mean_voiceprint,
    threshold_for,
)


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


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_a_cohorts_statistics_are_those_of_its_closest_speakers():
    cohort = Cohort(np.array([[3, 0], [0.6, 0.8], [0, 1], [-1, 0]]), top=2)  # lengths do not count
    mean, deviation = cohort.statistics(np.array([[1, 0], [0, 1]], dtype=np.float32))
    np.testing.assert_allclose(mean, [0.8, 0.9], rtol=1e-6)  # of 1 and 0.6, of 1 and 0.8
    np.testing.assert_allclose(deviation, [0.2, 0.1], rtol=1e-5)


def test_statistics_of_many_vectors_are_those_of_each():
    random = np.random.default_rng(1)
    cohort, vectors = Cohort(random.normal(size=(150, 8))), unit(random.normal(size=(2100, 8)))
    assert cohort.top == 100
    mean, deviation = cohort.statistics(vectors)
    for row in (0, 1023, 1024, 2099):
        np.testing.assert_allclose(
            cohort.statistics(vectors[row : row + 1]), [[mean[row]], [deviation[row]]], rtol=1e-5
        )


def test_a_normalised_score_is_the_mean_of_both_sides_z_scores():
    statistics = (np.array([0.1, 0.3]), np.array([0.1, 0.2]))
    found = Cohort.normalise(np.array([0.5, 0.5]), statistics, (np.array([0.2]), np.array([0.1])))
    np.testing.assert_allclose(found, [(4 + 3) / 2, (1 + 3) / 2])


def test_normalisation_takes_out_a_voice_that_is_close_to_everybody():
    # Half of the speakers share a direction, so their impostor cosines are high and those of the others are not.
    random = np.random.default_rng(5)
    crowd = random.normal(size=32)

    def voices(count: int) -> np.ndarray:
        return random.normal(size=(count, 32)) + np.where(np.arange(count)[:, None] % 2, crowd, 0)

    cohort, speakers = Cohort(voices(400), top=50), voices(120)
    enrolled, calls = (unit(speakers + random.normal(0, 0.9, size=speakers.shape)) for _ in range(2))
    cosines, own = calls @ enrolled.T, np.eye(120, dtype=bool)
    statistics = cohort.statistics(enrolled)
    normalised = np.stack(
        [
            cohort.normalise(row, statistics, cohort.statistics(call[None]))
            for row, call in zip(cosines, calls, strict=True)
        ]
    )
    plain, better = (equal_error_rate(scores[own], scores[~own]) for scores in (cosines, normalised))
    assert better < 0.8 * plain


@pytest.mark.parametrize("means", [np.ones((1, 4)), np.ones(4), np.zeros((3, 4)), np.full((3, 4), np.nan)])
def test_a_cohort_of_no_directions_is_refused(means):
    with pytest.raises(ValueError, match="cohort"):
        Cohort(means)


def test_conditions_count_within_their_range():
    found = Conditions(np.array([0.1, 1.0, 500.0]), np.array([1.0, 5.0, 60.0]), np.array([-5.0, 20.0, 99.0])).features()
    np.testing.assert_allclose(
        found, [[math.log(0.3), 0, math.log(30)], [math.log(4), math.log(5), math.log(20)], [0, 2, 4]]
    )
    assert Conditions(1.0, 1.0, 10.0).features().shape == (3,)


def test_a_weighed_calibration_needs_conditions_and_takes_one_or_many():
    calibration = Calibration.of(10, -4, 0.2, (2.0, 0.5, 1.0))
    one = Conditions(math.e, math.e**2, 10.0)
    assert calibration.log_likelihood_ratio(0.5, one) == pytest.approx(1 + 2 + 1 + 1)
    np.testing.assert_allclose(calibration.log_likelihood_ratio(np.array([0.5, 0.6]), one), [5, 6])
    many = Conditions(np.array([1.0, math.e]), math.e**2, 0.0)
    np.testing.assert_allclose(calibration.log_likelihood_ratio(np.array([0.5, 0.5]), many), [2, 4])
    with pytest.raises(ValueError, match="conditions"):
        calibration.log_likelihood_ratio(0.5)
    assert Calibration.of(10, -4, 0.2).log_likelihood_ratio(0.5, one) == 1


def test_the_version_follows_the_weights_and_stays_that_of_old_without_any():
    assert Calibration.of(16, -8, 0.3).version == "59acb6a0f4ae"
    assert Calibration.of(16, -8, 0.3, (0.0, 0.0, 0.1)).version != Calibration.of(16, -8, 0.3).version


def test_a_calibration_survives_its_description():
    for calibration in (Calibration.of(16, -8, 0.3, (0.1, 0.2, 1 / 3)), Calibration.of(16, -8, 0.3)):
        assert Calibration.from_dict(calibration.to_dict()) == calibration
    old = {"slope": 16, "offset": -8, "prior": 0.3, "version": Calibration.of(16, -8, 0.3).version}
    assert Calibration.from_dict(old) == Calibration.of(16, -8, 0.3)
    with pytest.raises(ValueError, match="version"):
        Calibration.from_dict(old | {"weights": [0.0, 0.0, 0.1]})


def measured(random: np.random.Generator, mean: float, count: int) -> tuple[np.ndarray, Conditions]:
    """Scores that are lower for everybody where the test clip is short or noisy."""
    conditions = Conditions(
        np.exp(random.uniform(0, 3, count)), np.exp(random.uniform(1, 4, count)), random.uniform(0, 40, count)
    )
    test, _, snr = conditions.features()
    return mean + random.normal(0, 0.2, count) + 0.1 * test + 0.05 * snr, conditions


def test_conditions_that_shift_all_scores_are_taken_out():
    random = np.random.default_rng(2)
    (target, of_target), (impostor, of_impostor) = measured(random, 0.6, 30_000), measured(random, 0.1, 40_000)
    plain = fit_calibration(target, impostor, 0.1)
    found = fit_calibration(target, impostor, 0.1, target_conditions=of_target, impostor_conditions=of_impostor)
    assert found == fit_calibration(target, impostor, 0.1, target_conditions=of_target, impostor_conditions=of_impostor)
    assert found.slope == pytest.approx(12.5, rel=0.03)
    np.testing.assert_allclose(found.weights, [-1.25, 0, -0.625], atol=0.05)
    better = cllr(found.log_likelihood_ratio(target, of_target), found.log_likelihood_ratio(impostor, of_impostor))
    assert better < cllr(plain.log_likelihood_ratio(target), plain.log_likelihood_ratio(impostor)) - 0.02


def test_a_condition_that_does_not_vary_gets_no_weight():
    random = np.random.default_rng(2)
    target, impostor = random.normal(0.6, 0.2, 500), random.normal(0.1, 0.2, 500)
    same = Conditions(3.0, 20.0, 25.0)
    found = fit_calibration(target, impostor, 0.1, target_conditions=same, impostor_conditions=same)
    assert found == fit_calibration(target, impostor, 0.1)
    with pytest.raises(ValueError, match="both kinds"):
        fit_calibration(target, impostor, 0.1, target_conditions=same)


def test_the_threshold_is_the_lowest_that_keeps_the_rate():
    impostor = np.arange(1000) / 1000  # 0 to 0.999
    target = np.array([0.5, 0.9895, 2.0])
    threshold = threshold_for(target, impostor, 0.01)
    assert (impostor >= threshold).sum() == 10 and 0.989 < threshold < 0.9895
    # Equal scores are accepted together or not at all.
    tied = np.where(impostor >= 0.98, 0.98, impostor)
    assert (tied >= threshold_for(target, tied, 0.01)).sum() == 0
    assert (tied >= threshold_for(target, tied, 0.02)).sum() == 20
    assert threshold_for(np.array([0.1]), np.ones(300), 0.01) == np.nextafter(1, 2)


def test_a_rate_that_the_trials_cannot_support_is_refused():
    with pytest.raises(UnsupportedRate, match="at least 300 impostor trials, there are 299") as refused:
        threshold_for(np.ones(10), np.zeros(299), 0.01)
    assert (refused.value.code, refused.value.needed, refused.value.trials) == ("unsupported_rate", 300, 299)
    assert threshold_for(np.ones(10), np.zeros(300), 0.01) == 0.5
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="between"):
            threshold_for(np.ones(10), np.zeros(300), rate)


def test_cross_fitting_calibrates_a_half_of_the_speakers_by_the_other():
    random = np.random.default_rng(4)
    names = np.array([f"s{number:02}" for number in range(20)])
    claimed, spoken = (each.ravel() for each in np.meshgrid(names, names))
    claimed, spoken = np.tile(claimed, 20), np.tile(spoken, 20)
    is_target = claimed == spoken
    scores = np.where(is_target, 0.6, 0.1) + random.normal(0, 0.2, len(claimed))
    found = cross_fit(scores, is_target, claimed, spoken, None, 0.1)
    assert np.array_equal(found, cross_fit(scores, is_target, claimed, spoken, None, 0.1), equal_nan=True)
    assert len(np.unique(np.isfinite(found)[is_target])) == 1  # a target trial never is across halves
    held = np.isfinite(found)
    assert held.mean() == pytest.approx(0.5)  # two halves of ten
    half = set(claimed[held & (claimed != spoken) & (claimed == claimed[held][0])]) | set(
        spoken[held & (claimed == claimed[held][0])]
    )
    inside = np.isin(claimed, list(half)) & np.isin(spoken, list(half))
    outside = ~np.isin(claimed, list(half)) & ~np.isin(spoken, list(half))
    expected = fit_calibration(scores[outside & is_target], scores[outside & ~is_target], 0.1)
    np.testing.assert_allclose(found[inside], expected.log_likelihood_ratio(scores[inside]))
    assert np.isnan(found[~inside & ~outside]).all()


def test_speakers_too_few_to_be_halved_are_left_out():
    alone = np.array(["a", "a"])
    found = cross_fit(np.array([0.9, 0.1]), np.array([True, False]), alone, alone, None, 0.1)
    assert np.isnan(found).all()
