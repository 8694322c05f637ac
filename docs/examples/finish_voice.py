"""Make the base model out of two trainings with mltraining/recipes/voice.yaml: the second started from the first.

    python docs/examples/finish_voice.py speech FIRST/pipeline SECOND/pipeline OUT

1. The weights of both are averaged (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022): the first
   is nearer to the encoder that both come from, the second knows these voices and lines better.
2. The direction in which real calls differ from readings is taken out of the embeddings (nuisance attribute projection,
   Solomonoff et al., 2005), and what they have in common. It tells the line, not the voice: without this, the calls of
   any two people have a cosine of 0.31, and readings of any two one of 0.03.
3. The training speakers' mean embeddings become the cohort.

A recording counts as a real call if it was made at less than 16 kHz. All of them are training speech.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from mltraining.speech.audio import decoding
from mltraining.speech.config import load_config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.scoring import onnx_runtime, pipeline
from mltraining.speech.scoring.averaging import Pooled
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import dataset, onnx_graph, trainer, validation
from mltraining.speech.training.corruption import Corruption
from mltraining.speech.training.teachers import WIDE_BAND
from mltraining.speech.training.teaching import SHORTEST_CLIP

READINGS, SECONDS = 1_200, 8.0  # clips that stand for all readings; heard of each at most


def main(speech: str, first: str, second: str, output: str) -> None:
    """Write the pipeline. Its calibration is the second's: it must be fitted anew (evaluate-corpora --recalibrate)."""
    folder = Path(speech)
    config = load_config(
        "mltraining/recipes/voice.yaml",
        [
            f"dataset.data_folder={folder / 'audio'}",
            f"dataset.train_dataframe={folder / 'clips.parquet'}",
            f"augmentation.noise_folder={folder / 'noise'}",
        ],
    )
    split, clips = trainer.decode(config, seed=config.environment.seed)
    pipelines = [ScoringPipeline.load(Path(each), runtime="torch") for each in (first, second)]
    states = [each.own.network.state_dict() for each in pipelines if each.own.network is not None]
    network = build_network(config, 0, weights=False)
    network.load_state_dict(
        {
            name: (value + states[1][name]) / 2 if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    network.eval()
    features = LogMel(config.audio)

    long = split.train[clips.seconds[split.train] >= SHORTEST_CLIP]
    rates = [_rate(folder / "audio" / name) for name in split.clips["audio"].to_numpy()[long]]
    calls, readings = long[np.array(rates) < WIDE_BAND], long[np.array(rates) >= WIDE_BAND]
    readings = np.random.default_rng(0).permutation(readings)[:READINGS]
    voices = [clips.samples[row] for row in readings]
    corruption = Corruption(config.augmentation, voices, config.environment.seed)
    clean = [_floats(samples)[: round(SECONDS * config.audio.sample_rate)] for samples in voices]
    lines = [
        np.clip(corruption(samples, np.random.default_rng([1, row])), -1, 1)
        for row, samples in zip(readings, clean, strict=True)
    ]
    called = [_floats(clips.samples[row])[: round(SECONDS * config.audio.sample_rate)] for row in calls]
    embed = _encoder(network, features)
    of_calls, of_readings = embed(called).mean(axis=0), embed([*clean, *lines]).mean(axis=0)
    _take_out(network, of_calls, of_readings)

    vectors = _encoder(network, features)([_floats(clips.samples[row]) for row in split.train])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, seconds = split.labels[split.train], clips.seconds[split.train]
    trained = load_config("mltraining/recipes/voice.yaml")  # with the folders' usual names
    found = pipeline.export(
        Path(output),
        network=network,
        config=trained,
        classes=split.classes,
        class_rows=None,
        calibration=pipelines[1].calibration,
        threshold=pipelines[1].threshold,
        metrics={},
        data_hash=clips.data_hash,
        half=config.training.half_precision_weights,
        cohort=validation.voiceprints(vectors, labels, seconds, len(split.classes)),
    )
    print(f"{output}: fingerprint {found}; {len(calls)} calls, {len(readings)} readings")


@torch.no_grad()
def _take_out(network: SpeakerNetwork, one: np.ndarray, other: np.ndarray) -> None:
    """Move the middle of two mean embeddings to 0, and project onto what is orthogonal to the line through them."""
    direction, middle = one - other, (one + other) / 2
    direction /= np.linalg.norm(direction)
    keep = torch.from_numpy(np.eye(len(direction)) - np.outer(direction, direction)).float()
    projection = network.projection
    assert isinstance(projection, torch.nn.Linear)
    projection.bias.copy_(keep @ (projection.bias - torch.from_numpy(middle).float()))
    projection.weight.copy_(keep @ projection.weight)


def _encoder(network: SpeakerNetwork, features: LogMel) -> Pooled:
    """The network under ONNX Runtime, five times as fast on a CPU: clips (n,) each -> (clips, dimensions)."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx_graph.export(network, features, Path(scratch))
        encoder = onnx_runtime.Encoder(Path(scratch) / onnx_runtime.FILES["fp32"], features.size)
    return encoder.pooled


def _floats(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / 32768


def _rate(file: Path) -> int:
    """Return the rate (Hz) that a recording was made at."""
    data = file.read_bytes()
    return dataset.source_rate(data, decoding.decode(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
