"""The ``export-onnx`` command: build a pipeline's ONNX exports, check them, measure them, and record the results.

The record stands in pipeline.json:

    exports: {fp32: {file, sha256, cosine, eer, milliseconds_3s}, int8: {…}, default: fp32 | int8}

``cosine`` is the mean to torch's embeddings, on clips that int8 was not calibrated on. ``eer`` is null without trials.
``default`` is what ``runtime="auto"`` takes on a CPU; null, like no record at all, means torch.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

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
from mltraining.speech.scoring import onnx_runtime, pipeline, timing
from mltraining.speech.scoring.encoder import OwnEncoder
from mltraining.speech.scoring.onnx_runtime import FILES
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline

logger = logging.getLogger(__name__)

CLIPS, CHECKED = 80, 5  # every fifth clip checks the exports, the others calibrate int8
CROP_SECONDS = 3.0
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

    ``clips``: training speech (n,) each at the configured rate, of which at most 80 are taken; without any there is
    no int8. ``eer``: the equal error rate, from 0 to 1, of the pipeline under one runtime. Until all is measured the
    folder scores under torch. Raises ExportError, and PipelineError where the folder is no pipeline.
    """
    folder = Path(folder)
    original = ScoringPipeline.load(folder, runtime="torch").own
    assert original.network is not None
    length = round(CROP_SECONDS * original.config.audio.sample_rate)
    random = np.random.default_rng(0)
    chosen = [crop(clips[row], length, 0.5) for row in random.permutation(len(clips))[:CLIPS]]
    features = [original.features(torch.from_numpy(one)[None]).numpy() for one in chosen]
    checked = features[::CHECKED] or [random.normal(0, 1, (1, 1, original.config.audio.mel_frequency_bins, 300))]
    checked = [one.astype(np.float32) for one in checked]

    pipeline.amend(folder, exports=None)
    for file in FILES.values():
        (folder / file).unlink(missing_ok=True)
    onnx_runtime.export(original.network, original.config, folder)
    if features:
        calibrating = [one for row, one in enumerate(features) if row % CHECKED] or features
        onnx_runtime.quantise(folder, calibrating)
    exports: dict[str, Any] = {"default": None}
    for name, file in FILES.items():
        if (folder / file).exists():
            content = (folder / file).read_bytes()
            cosine = _cosine(original, onnx_runtime.Encoder(content), checked)
            exports[name] = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "cosine": cosine}
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


def _cosine(original: OwnEncoder, encoder: onnx_runtime.Encoder, features: list[np.ndarray]) -> float:
    """The mean, over the clips, of the cosine between the export's embedding and torch's."""
    with torch.inference_mode():
        cosines = [
            torch.cosine_similarity(original.pooled(one), encoder.pooled(one)).item()
            for one in map(torch.from_numpy, features)
        ]
    return float(np.mean(cosines))


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
        "'train' is taken); without it there is no int8",
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
    """At most 80 clips, as scoring would take them: (n,) float32 each."""
    paths: list[Path] = []
    for source in options.calibration_audio:
        if source.is_dir():
            paths += sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
            continue
        table = pd.read_parquet(source)
        table = table[table["split"] == "train"] if "split" in table else table
        paths += [(options.audio_root or source.parent) / name for name in table["audio"]]
    chosen = np.random.default_rng(0).permutation(len(paths))[:CLIPS]
    return [loaded.samples(decode(paths[row].read_bytes())) for row in chosen]
