"""The index finds exactly what the full product finds."""

from pathlib import Path

import numpy as np
import pytest

from mltraining import index as module
from mltraining.index import Index, IndexFull, Rows

DIMENSIONS = 192


def voiceprints(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors that are alike as voiceprints are: a common part, and some directions larger than others."""
    random = np.random.default_rng(seed)
    vectors = 0.3 + random.normal(size=(count, DIMENSIONS)) * np.linspace(2, 0.2, DIMENSIONS)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def rows(vectors: np.ndarray, first_id: int = 1) -> Rows:
    zeros = np.zeros(len(vectors))
    ids = np.arange(first_id, first_id + len(vectors))
    return Rows(ids, ids * 10, vectors, zeros + 20, zeros, zeros + 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.index"


def index_of(path: Path, vectors: np.ndarray, *, sample: np.ndarray | None = None) -> Index:
    made = Index.create(
        path, dimensions=DIMENSIONS, capacity=len(vectors) + 100, sample=vectors if sample is None else sample
    )
    made.append(rows(vectors))
    return made


@pytest.mark.parametrize("fits", [True, False])
def test_no_cosine_exceeds_its_bound_however_well_the_rotation_fits(path: Path, fits: bool) -> None:
    vectors = voiceprints(5000)
    made = index_of(path, vectors, sample=vectors if fits else np.roll(vectors, 90, axis=1))
    for call in voiceprints(20, seed=1):
        upper, cosines = made.bounds(call, made.count), vectors @ call
        assert (cosines <= upper).all()
        assert not fits or np.mean(upper - cosines) < 0.2, "a bound that says nothing would let everybody through"


def test_a_row_that_is_gone_leaves_nothing_behind_and_is_found_no_more(path: Path) -> None:
    vectors = voiceprints(3000)
    made = index_of(path, vectors)
    assert vectors[7].tobytes() in path.read_bytes()
    made.remove(made.find(np.array([8, 9, 5000])))
    made.remove(made.find(np.array([8, 9])))
    content = path.read_bytes()
    assert vectors[7].tobytes() not in content and vectors[6].tobytes() in content
    assert len(made) == 2998 and made.find(np.array([8, 9])).size == 0
    assert made.bounds(vectors[7], made.count)[7] == -np.inf
    assert 7 not in made.everywhere(made.count)


def test_a_reader_sees_what_the_writer_writes_and_cannot_write(path: Path) -> None:
    made = index_of(path, voiceprints(10))
    reader = Index(path)
    made.append(rows(voiceprints(5, seed=2), first_id=11))
    made.applied = 42
    assert (reader.count, reader.applied, reader.find(np.array([15])).tolist()) == (15, 42, [14])
    with pytest.raises(ValueError, match="read-only"):
        reader.vectors[0] = 0


def test_ids_that_come_late_are_found_as_well(path: Path) -> None:
    made = index_of(path, voiceprints(10))
    made.append(rows(voiceprints(3, seed=2), first_id=30))
    made.append(rows(voiceprints(3, seed=3), first_id=20))
    assert sorted(made.ids[made.find(np.array([3, 31, 21, 99]))].tolist()) == [3, 21, 31]


def test_more_rows_than_there_are_places_are_refused(path: Path) -> None:
    made = index_of(path, voiceprints(10))
    with pytest.raises(IndexFull):
        made.append(rows(voiceprints(101), first_id=11))
    assert made.count == 10


def test_only_the_service_may_read_the_file_and_another_file_is_no_index(path: Path) -> None:
    index_of(path, voiceprints(10))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(bytes(8192))
    with pytest.raises(ValueError, match="is no index"):
        Index(path)


def test_memory_that_has_run_out_is_an_error_and_not_the_end_of_the_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = index_of(path, voiceprints(10))

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    made._header[module._Header.ALLOCATED] = 10
    with pytest.raises(OSError, match="No space left"):
        made.append(rows(voiceprints(10, seed=1), first_id=11))
    assert made.count == 10
