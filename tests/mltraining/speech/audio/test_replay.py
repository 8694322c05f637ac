"""Telling that a recording was heard before, on made-up voices and, where it is there, on real speech."""

from collections.abc import Callable

import numpy as np
import pytest

from mltraining.speech.audio import noise, replay, telephone
from tests.support.audio import voice

RATE = replay.RATE


def recording(speaker: int, take: int, seconds: float = 3.0) -> np.ndarray:
    return voice(speaker, seconds=seconds, sample_rate=RATE, take=take)


def attacked(samples: np.ndarray, name: str) -> np.ndarray:
    random = np.random.default_rng(7)
    attacks: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "as it was": lambda each: each,
        "G.711": lambda each: telephone.transmit(each, "mulaw", random=random),
        "gain": lambda each: 0.3 * each,
        "trim": lambda each: each[1640:],
        "noise": lambda each: noise.add(each, random.standard_normal(len(each)).astype(np.float32), 15, random),
    }
    return np.asarray(attacks[name](samples), dtype=np.float32)


@pytest.fixture(scope="module")
def index() -> replay.ReplayIndex:
    filled = replay.ReplayIndex()
    filled.add_many(
        (10 * speaker + take, replay.acoustic_fingerprint(recording(speaker, take)))
        for speaker in range(6)
        for take in range(3)
    )
    return filled


@pytest.mark.parametrize("name", ["as it was", "G.711", "gain", "trim", "noise"])
def test_the_same_recording_is_known_again(index: replay.ReplayIndex, name: str) -> None:
    for speaker in range(6):
        found = index.find(replay.views(attacked(recording(speaker, 1), name)))
        assert found is not None and found.key == 10 * speaker + 1
        assert found.offset_seconds == pytest.approx(0.205 if name == "trim" else 0.0, abs=0.033)


def test_the_same_speaker_again_is_not_a_replay(index: replay.ReplayIndex) -> None:
    assert [index.find(replay.views(recording(speaker, 9))) for speaker in range(6)] == [None] * 6


def test_what_is_removed_is_not_found_and_the_others_are(index: replay.ReplayIndex) -> None:
    own = replay.ReplayIndex()
    own.add_many((take, replay.acoustic_fingerprint(recording(0, take))) for take in range(3))
    own.remove_many([1, 77])
    assert own.find(replay.views(recording(0, 1))) is None
    found = own.find(replay.views(recording(0, 2)))
    assert found is not None and found.key == 2 and 1 not in own and len(own) == 2


def test_merging_changes_no_answer(index: replay.ReplayIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay.ReplayIndex, "MERGE_AT", 100)
    merged = replay.ReplayIndex()
    for speaker in range(6):
        merged.add_many(
            (10 * speaker + take, replay.acoustic_fingerprint(recording(speaker, take))) for take in range(3)
        )
    for speaker in range(6):
        asked = replay.views(attacked(recording(speaker, 2), "noise"))
        assert merged.find(asked) == index.find(asked) is not None


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(8000), np.full(8000, 0.5)])
def test_silence_and_next_to_nothing_are_no_replay(index: replay.ReplayIndex, samples: np.ndarray) -> None:
    assert index.find(replay.views(samples.astype(np.float32))) is None


def test_a_fingerprint_is_small_and_the_same_each_time() -> None:
    content = replay.acoustic_fingerprint(recording(1, 1))
    assert content == replay.acoustic_fingerprint(recording(1, 1)) and 0 < len(content) <= 6 * replay.KEPT
    assert content == replay.kept(replay.views(recording(1, 1)))


def test_only_what_is_said_to_be_speech_is_fingerprinted() -> None:
    at = np.arange(2 * RATE) / RATE
    ringing = (0.1 * np.sin(2 * np.pi * 440 * at) + 0.1 * np.sin(2 * np.pi * 480 * at)).astype(np.float32)
    calls = [np.concatenate([ringing, recording(0, take)]) for take in range(2)]
    known = replay.ReplayIndex()
    known.add_many([(0, replay.kept(replay.views(calls[0], [(2.0, 5.0)])))])
    assert known.find(replay.views(calls[1], [(2.0, 5.0)])) is None
    assert known.find(replay.views(calls[0], [(2.0, 5.0)])) is not None
    assert not len(replay.pairs(ringing, []))


def repeated_seconds(old: np.ndarray, new: np.ndarray) -> list[tuple[float, float]]:
    known = replay.ReplayIndex()
    known.add_many([(0, replay.acoustic_fingerprint(old))])
    found = known.find(replay.views(new))
    assert found is not None
    return replay.repeated(replay.acoustic_fingerprint(old), replay.views(new), found.offset_seconds)


@pytest.mark.parametrize("name", ["as it was", "G.711", "noise"])
def test_of_two_calls_that_begin_with_the_same_announcement_only_that_is_repeated(name: str) -> None:
    announcement = recording(5, 0, 2.0)
    first, second = (np.concatenate([announcement, recording(0, take, 4.0)]) for take in range(2))
    stretches = repeated_seconds(first, attacked(second, name))
    assert min(start for start, _ in stretches) < 0.5
    assert 1.5 < max(end for _, end in stretches) < 3.2


@pytest.mark.parametrize("name", ["as it was", "G.711", "noise", "trim"])
def test_a_recording_that_is_played_again_is_repeated_from_its_beginning_to_its_end(name: str) -> None:
    for speaker in range(4):
        again = attacked(recording(speaker, 1, 5.0), name)
        stretches = repeated_seconds(recording(speaker, 1, 5.0), again)
        covered = np.zeros(len(again), dtype=bool)
        for start, end in stretches:
            covered[max(0, round(start * RATE)) : max(0, round(end * RATE))] = True
        assert covered.mean() > 0.9


def test_a_replay_that_goes_on_with_new_words_is_repeated_only_where_it_is_a_replay() -> None:
    old = recording(2, 0, 4.0)
    stretches = repeated_seconds(old, np.concatenate([old, recording(2, 1, 4.0)]))
    assert max(end for _, end in stretches) < 5.2
