"""Cosines and mean voiceprints, on numbers small enough to check by hand."""

import math

import numpy as np
import pytest

from mltraining.speech.audio.quality import Quality
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint, cosine, mean_voiceprint


def test_cosine_scores_one_embedding_against_every_voiceprint() -> None:
    voiceprints = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    np.testing.assert_allclose(cosine(np.array([0.6, 0.8], dtype=np.float32), voiceprints), [0.6, 0.8, -0.6])


def test_a_voiceprint_is_the_direction_of_the_weighted_mean() -> None:
    embeddings = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = mean_voiceprint(embeddings, np.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [0.6, 0.8], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("embeddings", "weights"), [([[1, 0], [-1, 0]], [1, 1]), ([[1, 0]], [0]), ([[math.nan, 0]], [1])]
)
def test_embeddings_without_a_mean_direction_are_refused(embeddings: list[list[float]], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="no mean direction"):
        mean_voiceprint(np.array(embeddings, dtype=float), np.array(weights))


def test_a_speakers_clips_count_by_their_net_speech() -> None:
    clips = [
        EmbeddedClip(np.array(vector, dtype=np.float32), Quality(9.0, seconds, 20.0, 0.0))
        for vector, seconds in (([1, 0], 3.0), ([0, 1], 4.0), ([-1, 0], 0.0))
    ]
    found = Voiceprint.of(clips)
    np.testing.assert_allclose(found.vector, [0.6, 0.8], rtol=1e-6)
    assert found.speech_seconds == 7
    with pytest.raises(ValueError, match="no recording holds speech"):
        Voiceprint.of(clips[2:])
