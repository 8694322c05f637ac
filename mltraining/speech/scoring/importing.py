"""The ``import-encoder`` command: a scoring pipeline of an ONNX file and a front-end description.

The encoder is tried on sounds first, so that what cannot serve is refused here and not during a call. The pipeline
knows nothing about probabilities yet: until it is calibrated, every likelihood ratio is 1 and nobody is accepted.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx.external_data_helper import uses_external_data
from safetensors.numpy import save_file

from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.config import ConfigError
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.folder import DESCRIPTION, replacing, write_json
from mltraining.speech.scoring.imported import (
    CENTRE,
    MODEL,
    Description,
    EncoderRefused,
    ImportedEncoder,
    fingerprint_of,
)

DONE, REFUSED = 0, 2
SUFFIXES = {".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a"}
CENTRED_ON = 1000  # clips at most; the mean of more moves by less than it differs between corpora
SECONDS = (3.0, 0.1, 1.7)  # of the sounds that an encoder is tried on; 0.1 is the shortest recording that decodes
TOLERANCE = 1e-3  # of the largest number in an embedding
SAME = 0.99999  # the cosine above which two embeddings count as one

UNCALIBRATED = Calibration.of(slope=0.0, offset=0.0, prior=0.5)
ACCEPT_FROM = 0.99  # no uncalibrated score reaches it: all have the probability 0.5
CALIBRATED_ON = {
    "target_trials": 0,
    "impostor_trials": 0,
    "speakers": 0,
    "strangers": True,
    "source": "none: the encoder was imported and has not been calibrated",
}


@dataclass(frozen=True)
class About:
    """What an encoder is, and whose: for people. ``origin`` says where its weights come from."""

    name: str
    origin: str
    licence: str
    licence_text: str


def import_encoder(
    model: bytes,
    description: Description,
    folder: Path,
    about: About,
    centre_on: Sequence[Waveform] = (),
) -> str:
    """Write the folder, in whole or not at all, and return the fingerprint.

    ``about`` is recorded as it is given. The mean embedding of the recordings ``centre_on``, if any, is subtracted from
    every embedding. Raises EncoderRefused and ConfigError for an encoder or a description that cannot serve.
    """
    opset = opset_of(model)
    try:
        encoder = ImportedEncoder(model, description, None)
    except (EncoderRefused, ConfigError):
        raise
    except ValueError as error:
        raise EncoderRefused("unsupported_opset", str(error)) from error
    check(encoder)
    centre = None
    if centre_on:
        centre = np.mean([encoder.embed(encoder.samples(each))[0] for each in centre_on], axis=0)
    fingerprint = fingerprint_of(model, description, centre)
    with replacing(Path(folder)) as draft:
        (draft / MODEL).write_bytes(model)
        if centre is not None:
            save_file({"centre": centre}, draft / CENTRE)
        write_json(
            draft / DESCRIPTION,
            {
                "fingerprint": fingerprint,
                "dimensions": encoder.dimensions,
                "imported": asdict(about) | {"opset": opset, "centred": centre is not None},
                "threshold": ACCEPT_FROM,
                "calibration": UNCALIBRATED.to_dict(),
                "calibrated_on": CALIBRATED_ON,
                "data_hash": "",
                "metrics": {},
                "config": description.to_dict(),
            },
        )
    return fingerprint


def opset_of(model: bytes) -> int:
    """Return the version of the standard operators that the file uses.

    Raises EncoderRefused: ``not_onnx``, ``external_data``, ``unsupported_opset``.
    """
    try:
        parsed = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's errors have no base of their own
        raise EncoderRefused("not_onnx", "the file is not an ONNX model") from error
    if not parsed.graph.node:
        raise EncoderRefused("not_onnx", "the file is not an ONNX model: it holds no operator")
    if any(uses_external_data(each) for each in _tensors(parsed.graph)):
        raise EncoderRefused("external_data", "the model keeps weights in another file; save it with all data in one")
    versions = {each.domain or "ai.onnx": each.version for each in parsed.opset_import}
    if "ai.onnx" not in versions:
        raise EncoderRefused(
            "unsupported_opset", f"the model uses operators of {', '.join(versions) or 'no set'} alone"
        )
    return versions["ai.onnx"]


def _tensors(graph: Any) -> Iterator[Any]:
    """The constants of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def check(encoder: ImportedEncoder) -> None:
    """Try the encoder on sounds of several lengths, on silence, and on several sounds at once.

    Raises EncoderRefused: ``wrong_shape``, ``not_finite``, ``not_deterministic``, ``depends_on_batch``,
    ``constant_output``.
    """
    sounds = _sounds(encoder.description.sample_rate)
    units = {name: encoder.units(sound) for name, sound in sounds.items()}
    alone = {name: encoder.vectors(each, together=1) for name, each in units.items()}
    for name, vectors in alone.items():
        if not np.isfinite(vectors).all():
            raise EncoderRefused("not_finite", f"the embedding of {name} holds what is no number")
    several = [name for name, each in units.items() if each.shape[1] == units["noise"].shape[1]]
    first = np.concatenate([alone[name][:1] for name in several])
    again = encoder.vectors(units["noise"][:1])
    if not _close(again, first[:1]):
        raise EncoderRefused("not_deterministic", "the same sound gives another embedding the second time")
    if not _close(encoder.vectors(np.concatenate([units[name][:1] for name in several])), first):
        raise EncoderRefused("depends_on_batch", "a sound gives another embedding when others are embedded with it")
    one, other = (encoder.embed(sounds[name])[0] for name in ("noise", "a voice"))
    if float(one @ other) > SAME:
        raise EncoderRefused("constant_output", "noise and a voice give the same embedding")


def _sounds(rate: int) -> dict[str, np.ndarray]:
    """Sounds by name, (n,) float32 each at ``rate``."""
    random = np.random.default_rng(0)
    times = np.arange(round(SECONDS[0] * rate)) / rate
    swelling = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * times)
    noise = 0.1 * random.normal(size=len(times)) * swelling
    phase = 2 * np.pi * np.cumsum(130 + 15 * np.sin(2 * np.pi * 0.7 * times)) / rate
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 25)) * 0.1 * swelling
    found = {
        "noise": noise,
        "a voice": voice + 1e-3 * random.normal(size=len(times)),
        "silence": np.zeros(len(times)),
        "a short sound": noise[: round(SECONDS[1] * rate)],
        "a sound of another length": noise[: round(SECONDS[2] * rate)],
    }
    return {name: each.astype(np.float32) for name, each in found.items()}


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the encoder, the description or a recording is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech import-encoder", description=__doc__)
    parser.add_argument("model", type=Path, help="the ONNX file")
    parser.add_argument("description", type=Path, help="the front end, YAML or JSON; see docs/importing-encoders.md")
    parser.add_argument("folder", type=Path, help="the pipeline folder to write")
    parser.add_argument("--name", required=True, help="how the encoder is called")
    parser.add_argument("--origin", required=True, help="where the weights come from, and what they were trained on")
    parser.add_argument("--licence", required=True, help="the licence's name, such as Apache-2.0")
    parser.add_argument("--licence-file", required=True, type=Path, help="the text of the licence")
    parser.add_argument(
        "--centre-on",
        nargs="+",
        default=[],
        type=Path,
        help="speech whose mean embedding is subtracted: folders, or tables with a column audio (of a column split "
        f"only 'train' is taken); {CENTRED_ON} recordings at most, drawn by chance",
    )
    parser.add_argument("--audio-root", type=Path, help="folder that audio is relative to; default: the table's audio/")
    options = parser.parse_args(arguments)
    try:
        fingerprint = import_encoder(
            options.model.read_bytes(),
            Description.read(options.description),
            options.folder,
            About(options.name, options.origin, options.licence, options.licence_file.read_text(encoding="utf-8")),
            centre_on=[decode(path.read_bytes()) for path in _recordings(options.centre_on, options.audio_root)],
        )
    except (EncoderRefused, ConfigError, AudioError) as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return REFUSED
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"unreadable_file: {error}\n")
        return REFUSED
    sys.stdout.write(f"{options.folder}: fingerprint {fingerprint}\n")
    return DONE


def _recordings(sources: Sequence[Path], audio_root: Path | None) -> list[Path]:
    """At most CENTRED_ON recordings of the folders and tables, drawn by chance, the same each time."""
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            paths += sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
            continue
        table = pd.read_csv(source, dtype=str) if source.suffix == ".csv" else pd.read_parquet(source)
        table = table[table["split"] == "train"] if "split" in table else table
        paths += [(audio_root or source.parent / "audio") / name for name in table["audio"]]
    chosen = np.random.default_rng(0).permutation(len(paths))[:CENTRED_ON]
    return [paths[row] for row in chosen]
