"""The encoder under ONNX Runtime: float32 and static int8, for scoring on CPUs. It needs no torch.

    encoder.onnx       float32
    encoder-int8.onnx  convolutions in 8 bits (QDQ), the rest float32; calibrated on real speech

Embeddings of both are of one space, like those of torch: the fingerprint is that of the weights, and a voiceprint of
one precision fits a call in another (docs/experiments/eight-bits.md has the error rates).

Both take samples and give the embedding: the log-mel spectrogram is part of the graph, always in float32. Where the
network can, they also give the embeddings of its windows, in the same pass.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from mltraining.speech.scoring.folder import EXPORT_INPUT

Export = Literal["fp32", "int8"]
FILES: dict[Export, str] = {"fp32": "encoder.onnx", "int8": "encoder-int8.onnx"}
INPUT, OUTPUT, WINDOWS = EXPORT_INPUT, "embedding", "windows"
MAX_EER_RISE = 0.001  # absolute; an export in 8 bits that costs more is not the default

_threads: ContextVar[int | None] = ContextVar("threads", default=None)


class Encoder:
    """A loaded export. Safe to share between threads."""

    def __init__(self, file: Path, shortest: int) -> None:
        """``shortest``: how many samples the graph takes at least.

        Raises ValueError where ONNX Runtime cannot read the file.
        """
        self._session = session(file, threads())
        self._shortest = shortest
        self.hears_windows = WINDOWS in {each.name for each in self._session.get_outputs()}

    def run(self, samples: np.ndarray) -> np.ndarray:
        """(batch, n) -> (batch, dimensions), both float32; not yet of unit length."""
        return self._session.run([OUTPUT], {INPUT: samples})[0]

    def pooled(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        """Run the graph on each piece (n,), float or int16: (pieces, dimensions)."""
        return np.concatenate([self.run(self._taken(piece)[None]) for piece in pieces])

    def heard(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the graph on one piece (n,): its pooled vector (dimensions,), and its windows' (windows, dimensions)."""
        whole, windows = self._session.run([OUTPUT, WINDOWS], {INPUT: self._taken(piece)[None]})
        return whole[0], windows[0]

    def _taken(self, piece: np.ndarray) -> np.ndarray:
        samples = piece / np.float32(32768) if piece.dtype == np.int16 else piece.astype(np.float32, copy=False)
        return samples if len(samples) >= self._shortest else np.resize(samples, self._shortest)


def threads() -> int:
    """Return how many threads an encoder uses: ``limited``'s, or ``OMP_NUM_THREADS``, or one for each core."""
    return _threads.get() or int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1


@contextmanager
def limited(number: int) -> Iterator[None]:
    """Limit the encoders that are loaded within to so many threads."""
    before = _threads.set(number)
    try:
        yield
    finally:
        _threads.reset(before)


def session(model: bytes | Path, number: int = 1) -> onnxruntime.InferenceSession:
    """Load a model on the CPU, for ``number`` threads. Raises ValueError where ONNX Runtime cannot read it.

    A session keeps the bytes that it is given, but not what it reads from a file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = number, 1
    # A plan of the memory for each length that was ever heard would be kept for good: 24 KB each with CAM++.
    options.enable_mem_pattern = False
    # Spinning threads would take the cores from the neighbours, as OpenMP's would (see launcher/parts.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ValueError(f"ONNX Runtime cannot read the model: {error}") from error


def choose(exports: Mapping[str, Any]) -> Export:
    """ "int8" where its EER rises by less than 0.1 point absolute over float32's, both measured; else "fp32"."""
    before, after = (exports.get(name, {}).get("eer") for name in ("fp32", "int8"))
    measured = before is not None and after is not None
    return "int8" if measured and after - before < MAX_EER_RISE else "fp32"
