"""The ``score`` command: score audio files with a pipeline, one JSON object for each file on stdout."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mltraining.speech.audio import quality
from mltraining.speech.audio.channels import ChannelRequired, index_of
from mltraining.speech.audio.decoding import HEADERLESS, decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint

DONE, REFUSED = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the pipeline or a file is refused; other files are scored nevertheless."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech score", description="Score audio files.")
    parser.add_argument("pipeline", type=Path, help="the pipeline folder that train left")
    parser.add_argument("audio", nargs="+", type=Path)
    parser.add_argument("--against", action="append", default=[], type=Path, help="verify against this speaker's audio")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--embedding", action="store_true", help="print the embedding, too")
    parser.add_argument("--format", choices=sorted(HEADERLESS), help="the files are headerless streams of this kind")
    parser.add_argument(
        "--channel",
        type=_channel,
        help="of files with several: left, right, a number from 0, or mono to mix them; needed where they differ",
    )
    options = parser.parse_args(arguments)

    def read(path: Path) -> Waveform:
        return decode(path.read_bytes(), max_seconds=limit, format=options.format, channel=options.channel)

    try:
        pipeline = ScoringPipeline.load(options.pipeline)
        limit = pipeline.encoder.max_seconds
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
            if isinstance(error, ChannelRequired):
                result["error"]["channels"] = [asdict(each) for each in quality.measure_channels(error.channels)]
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return status


def _channel(name: str) -> str:
    """Check the name of a channel, for argparse."""
    try:
        index_of(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _voiceprint(pipeline: ScoringPipeline, waveforms: list[Waveform]) -> Voiceprint | None:
    """Raises AudioError where the recordings hold no speech."""
    if not waveforms:
        return None
    try:
        return Voiceprint.of([EmbeddedClip(pipeline.embed(each), quality.measure(each)) for each in waveforms])
    except ValueError as error:
        raise AudioError("silent_audio", f"cannot enroll: {error}") from error


def _score(
    pipeline: ScoringPipeline,
    waveform: Waveform,
    voiceprint: Voiceprint | None,
    top: int,
    with_embedding: bool,
) -> dict[str, Any]:
    result: dict[str, Any] = {"seconds": round(waveform.duration_seconds, 3)}
    embedding = pipeline.embed(waveform) if with_embedding or voiceprint is not None else None
    if pipeline.class_rows is not None:
        ranked = sorted(pipeline.classify(waveform).items(), key=lambda item: -item[1])
        result["classes"] = [{"class": name, "probability": value} for name, value in ranked[:top]]
    if voiceprint is not None and embedding is not None:
        vectors, seconds = voiceprint.vector[None], voiceprint.speech_seconds
        compared = pipeline.compare(embedding, quality.measure(waveform), vectors, seconds)
        probability = float(compared.probability[0])
        result["verification"] = {
            "score": float(compared.score[0]),
            "log_likelihood_ratio": float(compared.log_likelihood_ratio[0]),
            "probability": probability,
            "threshold": pipeline.threshold,
            "calibration": pipeline.calibration.version,
            "accepted": probability >= pipeline.threshold,
        }
    if with_embedding and embedding is not None:
        result["embedding"] = embedding.tolist()
    return result
