"""``python -m mltraining.speech score PIPELINE_DIR FILE…``: one JSON object a file on stdout."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mltraining.speech.audio import HEADERLESS, AudioError, Waveform, decode
from mltraining.speech.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.scoring import cosine, mean_voiceprint

DONE, REFUSED = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 where the pipeline or a file is refused. A refused file does not keep the others from being scored."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech score", description="Score audio files.")
    parser.add_argument("pipeline", type=Path, help="the pipeline folder that train left")
    parser.add_argument("audio", nargs="+", type=Path)
    parser.add_argument("--against", action="append", default=[], type=Path, help="verify against this speaker's audio")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--embedding", action="store_true", help="print the embedding, too")
    parser.add_argument("--format", choices=sorted(HEADERLESS), help="the files are headerless streams of this kind")
    options = parser.parse_args(arguments)

    def read(path: Path) -> Waveform:
        return decode(path.read_bytes(), max_seconds=limit, format=options.format)

    try:
        pipeline = ScoringPipeline.load(options.pipeline)
        limit = pipeline.config.prediction.max_inference_chunk_seconds
        voiceprint = _voiceprint(pipeline, [read(path) for path in options.against])
    except (PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    status = DONE
    for path in options.audio:
        result: dict[str, Any] = {"audio": str(path), "model": pipeline.fingerprint}
        try:
            result |= _score(pipeline, read(path), voiceprint, options.top, options.embedding)
        except (AudioError, OSError) as error:
            status = REFUSED
            result["error"] = {"code": getattr(error, "code", "unreadable_file"), "message": str(error)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return status


def _voiceprint(pipeline: ScoringPipeline, waveforms: list[Waveform]) -> np.ndarray | None:
    if not waveforms:
        return None
    embeddings = np.stack([pipeline.embed(waveform) for waveform in waveforms])
    return mean_voiceprint(embeddings, np.array([waveform.duration_seconds for waveform in waveforms]))


def _score(
    pipeline: ScoringPipeline, waveform: Waveform, voiceprint: np.ndarray | None, top: int, with_embedding: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {"seconds": round(waveform.duration_seconds, 3)}
    embedding = pipeline.embed(waveform) if with_embedding or voiceprint is not None else None
    if pipeline.class_rows is not None:
        ranked = sorted(pipeline.classify(waveform).items(), key=lambda item: -item[1])
        result["classes"] = [{"class": name, "probability": value} for name, value in ranked[:top]]
    if voiceprint is not None and embedding is not None:
        score = float(cosine(embedding, voiceprint[None])[0])
        ratio = pipeline.calibration.log_likelihood_ratio(score)
        probability = float(pipeline.calibration.probability(ratio))
        result["verification"] = {
            "score": score,
            "log_likelihood_ratio": ratio,
            "probability": probability,
            "threshold": pipeline.threshold,
            "calibration": pipeline.calibration.version,
            "accepted": probability >= pipeline.threshold,
        }
    if with_embedding and embedding is not None:
        result["embedding"] = embedding.tolist()
    return result
