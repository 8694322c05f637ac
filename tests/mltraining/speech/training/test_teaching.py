import numpy as np
import pytest
import torch

from mltraining.speech.training import teaching
from mltraining.speech.training.teaching import Lessons


@pytest.fixture
def lessons() -> Lessons:
    """Three clips of speaker 0 (the last one short), one of speaker 1, at two speeds, in four dimensions."""
    random = np.random.default_rng(1)
    clips = teaching.unit(random.normal(size=(2, 4, 4))).astype(np.float32)
    speakers = teaching.unit(random.normal(size=(2, 2, 4))).astype(np.float32)
    return Lessons(clips, speakers, np.array([3.0, 2.0, 0.5, 4.0]))


def test_a_target_is_of_the_clips_by_their_length_and_of_the_speaker(lessons: Lessons) -> None:
    found = lessons.target([(0, 300), (1, 100)], speaker=0, version=1, speaker_share=0.25)
    own = teaching.unit(300 * lessons.clips[1, 0] + 100 * lessons.clips[1, 1])
    np.testing.assert_allclose(found, teaching.unit(0.25 * lessons.speakers[1, 0] + 0.75 * own), rtol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_a_short_clip_does_not_count_and_alone_leaves_the_speaker(lessons: Lessons) -> None:
    both = lessons.target([(0, 300), (2, 300)], speaker=0, version=0, speaker_share=0.0)
    np.testing.assert_allclose(both, lessons.clips[0, 0], rtol=1e-5)
    alone = lessons.target([(2, 300)], speaker=0, version=0, speaker_share=0.0)
    np.testing.assert_array_equal(alone, lessons.speakers[0, 0])


def test_the_cosine_of_joined_embeddings_is_the_mean_of_the_teachers_cosines() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=(5, 6)), random.normal(size=(5, 3))
    both = teaching.joined([first, second])
    expected = sum(teaching.unit(each) @ teaching.unit(each).T for each in (first, second)) / 2
    np.testing.assert_allclose(both @ both.T, expected, atol=1e-6)


def test_the_losses_are_zero_where_the_network_says_what_the_teachers_say_and_grow_with_the_difference() -> None:
    targets = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    assert teaching.prediction_loss(7 * targets, targets).item() == pytest.approx(0, abs=1e-6)
    assert teaching.prediction_loss(-targets, targets).item() == pytest.approx(2)
    turned = targets @ torch.linalg.qr(torch.randn(4, 4))[0]  # other directions, the same relations
    assert teaching.relation_loss(turned, targets).item() == pytest.approx(0, abs=1e-6)
    assert teaching.prediction_loss(turned, targets).item() > 0.01
    one, other = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert teaching.relation_loss(one, other).item() == pytest.approx(1)
