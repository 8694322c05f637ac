"""The ``export-onnx`` command: build a pipeline's ONNX exports, check them, measure them, and record the results.

The record stands in pipeline.json:

    exports: {fp32: {file, sha256, cosine, eer, milliseconds_3s}, int8: {…}, input: samples, default: fp32 | int8}

``input`` is what the graph takes; one of an earlier version takes spectrograms, and is not used. ``cosine`` is the
mean to torch's embeddings, on clips that int8 was not calibrated on. ``eer`` is null without trials. ``default`` is
what ``runtime="auto"`` takes on a CPU; null, like no record at all, means torch. Only that file must be there.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltraining.speech.audio import telephone
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import crop
from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.trials import (
    TrialList,
    add_speech_arguments,
    score_labelled_trials,
    take_from_speech_folder,
)
from mltraining.speech.features.chunks import shortest
from mltraining.speech.scoring import onnx_runtime, pipeline, timing
from mltraining.speech.scoring.averaging import Pooled
from mltraining.speech.scoring.folder import sha256
from mltraining.speech.scoring.onnx_runtime import FILES, INPUT
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.training import onnx_graph

logger = logging.getLogger(__name__)

# Every fifth clip checks the exports, the others calibrate int8. Of 100 clips instead of 40, the loudest moments make
# the steps of 8 bits coarser: a mean cosine of 0.9955 instead of 0.9971.
CLIPS, CHECKED = 50, 5
LINES: tuple[telephone.Codec | None, ...] = (None, "mulaw", "gsm", "opus")  # by turns; None is as recorded
CROP_SECONDS, SHORTEST_SECONDS = 3.0, 2.0  # of a clip at most; of one that a table lists, at least
MIN_COSINE = 0.9999  # of fp32 to torch
SUFFIXES = {".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a"}
DONE, REFUSED = 0, 2
SPEECH = ("enrollment", "trials", "audio_root")

Measure = Callable[[ScoringPipeline], float]


class ExportError(RuntimeError):
    """The export does not embed as torch does."""

    code = "export_failed"


def build(folder: Path, clips: Sequence[np.ndarray], eer: Measure | None = None) -> dict[str, Any]:
    """Write the exports and their record into the pipeline's folder, and return the record.

    ``clips``: training speech (n,) each at the configured rate, of which at most 50 are taken, at 8 kHz three of four
    of them through telephone codecs; without any there is no int8. ``eer``: the equal error rate, from 0 to 1, of the
    pipeline under one runtime. Until all is measured the folder scores under torch. Raises ExportError, and
    PipelineError where the folder is no pipeline.
    """
    folder = Path(folder)
    original = ScoringPipeline.load(folder, runtime="torch").own
    assert original.network is not None and original.features is not None
    audio = original.config.audio
    length = round(CROP_SECONDS * audio.sample_rate)
    random = np.random.default_rng(0)
    chosen = [_floats(crop(clips[row], length, 0.5)) for row in random.permutation(len(clips))[:CLIPS]]
    if audio.sample_rate == telephone.RATE:
        chosen = [_sent(one, line) for one, line in zip(chosen, cycle(LINES), strict=False)]
    checked = chosen[::CHECKED] or [random.normal(0, 0.1, length).astype(np.float32)]

    pipeline.amend(folder, exports=None)
    for file in FILES.values():
        (folder / file).unlink(missing_ok=True)
    onnx_graph.export(original.network, original.features, folder)
    if chosen:
        fitted = [one for row, one in enumerate(chosen) if row % CHECKED] or chosen
        onnx_graph.quantise(original.network, original.features, folder, fitted)
    exports: dict[str, Any] = {"input": INPUT, "default": None}
    for name, file in FILES.items():
        if (folder / file).exists():
            export = onnx_runtime.Encoder(folder / file, shortest(audio))
            cosine = _cosine(original.pooled, export.pooled, checked)
            exports[name] = {"file": file, "sha256": sha256(folder / file).hexdigest(), "cosine": cosine}
    if exports["fp32"]["cosine"] < MIN_COSINE:
        raise ExportError(f"{FILES['fp32']} embeds unlike torch: the cosine is {exports['fp32']['cosine']:.5f}")

    pipeline.amend(folder, exports=exports)
    call = timing.clip(3)
    for name in [name for name in FILES if name in exports]:
        exports[name]["eer"] = None if eer is None else eer(ScoringPipeline.load(folder, runtime=name))
        with timing.one_thread():
            loaded = ScoringPipeline.load(folder, runtime=name)
            taken = timing.milliseconds(lambda loaded=loaded: loaded.embed(decode(call)))  # type: ignore[misc]
        exports[name]["milliseconds_3s"] = round(taken, 2)
    exports["default"] = onnx_runtime.choose(exports)
    pipeline.amend(folder, exports=exports)
    logger.info("exports: %s", exports)
    return exports


def _cosine(original: Pooled, export: Pooled, clips: list[np.ndarray]) -> float:
    """The mean, over the clips, of the cosine between the export's embedding and torch's."""
    found = (np.concatenate([original([one]), export([one])]) for one in clips)
    return float(np.mean([one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in found]))


def _sent(samples: np.ndarray, line: telephone.Codec | None) -> np.ndarray:
    return samples if line is None else telephone.transmit(np.clip(samples, -1, 1), line)


def _floats(samples: np.ndarray) -> np.ndarray:
    return samples / np.float32(32768) if samples.dtype == np.int16 else samples.astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the folder, a table or a clip is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech export-onnx", description=__doc__)
    parser.add_argument("pipeline", type=Path, help="the pipeline folder that train left")
    add_speech_arguments(parser, *SPEECH)
    parser.add_argument(
        "--calibration-audio",
        nargs="+",
        default=[],
        type=Path,
        help="training speech for int8: folders, or Parquet tables with a column audio (of a column split only "
        "'train' is taken, of a column seconds 2 and more); without it there is no int8",
    )
    options = parser.parse_args(arguments)
    try:
        eer = None
        if any((options.speech, options.enrollment, options.trials)):
            take_from_speech_folder(options, *SPEECH)
            eer = _on_trials(TrialList.read(options.enrollment, options.trials, options.audio_root))
        samples = _speech(ScoringPipeline.load(options.pipeline, runtime="torch"), options)
        record = build(options.pipeline, samples, eer)
    except (PipelineError, ExportError, AudioError, OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    sys.stdout.write(json.dumps(record, indent=2) + "\n")
    return DONE


def _on_trials(given: TrialList) -> Measure:
    """The equal error rate of the trials that have a score."""

    def eer(under: ScoringPipeline) -> float:
        scored = score_labelled_trials(under, given)
        return metrics.equal_error_rate(scored.scores[scored.is_target], scored.scores[~scored.is_target])

    return eer


def _speech(loaded: ScoringPipeline, options: argparse.Namespace) -> list[np.ndarray]:
    """At most 50 clips, as scoring would take them: (n,) float32 each."""
    paths: list[Path] = []
    for source in options.calibration_audio:
        if source.is_dir():
            paths += sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
            continue
        table = pd.read_parquet(source)
        table = table[table["split"] == "train"] if "split" in table else table
        table = table[table["seconds"] >= SHORTEST_SECONDS] if "seconds" in table else table
        paths += [(options.audio_root or source.parent) / name for name in table["audio"]]
    chosen = np.random.default_rng(0).permutation(len(paths))[:CLIPS]
    return [loaded.samples(decode(paths[row].read_bytes())) for row in chosen]
