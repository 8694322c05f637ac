"""Score normalisation against a cohort."""

import numpy as np
import pytest

from mltraining.speech.evaluation.metrics import equal_error_rate
from mltraining.speech.scoring.cohort import Cohort


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_a_cohorts_statistics_are_those_of_its_closest_speakers() -> None:
    cohort = Cohort(np.array([[3, 0], [0.6, 0.8], [0, 1], [-1, 0]]), top=2)  # lengths do not count
    mean, deviation = cohort.statistics(np.array([[1, 0], [0, 1]], dtype=np.float32))
    np.testing.assert_allclose(mean, [0.8, 0.9], rtol=1e-6)  # of 1 and 0.6, of 1 and 0.8
    np.testing.assert_allclose(deviation, [0.2, 0.1], rtol=1e-5)


def test_statistics_of_many_vectors_are_those_of_each() -> None:
    random = np.random.default_rng(1)
    cohort, vectors = Cohort(random.normal(size=(150, 8))), unit(random.normal(size=(2100, 8)))
    assert cohort.top == 100
    mean, deviation = cohort.statistics(vectors)
    for row in (0, 1023, 1024, 2099):
        np.testing.assert_allclose(
            cohort.statistics(vectors[row : row + 1]), [[mean[row]], [deviation[row]]], rtol=1e-5
        )


def test_a_normalised_score_is_the_mean_of_both_sides_z_scores() -> None:
    statistics = (np.array([0.1, 0.3]), np.array([0.1, 0.2]))
    found = Cohort.normalise(np.array([0.5, 0.5]), statistics, (np.array([0.2]), np.array([0.1])))
    np.testing.assert_allclose(found, [(4 + 3) / 2, (1 + 3) / 2])


def test_normalisation_takes_out_a_voice_that_is_close_to_everybody() -> None:
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
def test_a_cohort_of_no_directions_is_refused(means: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cohort"):
        Cohort(means)
