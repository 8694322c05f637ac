"""The scoring pipeline: one folder that scores audio without the training's code path, data or network access.

    encoder.safetensors  float32 weights up to the embedding
    pipeline.json        resolved configuration, fingerprint, calibration, threshold, metrics, data hash
    head.safetensors     optional: the class rows, (classes, dimensions), and a linear head where BCE trained one
    classes.json         with it: the classes' names and the head's SHA-256

The fingerprint names an embedding space: embeddings are comparable if, and only if, theirs are equal. So it covers
the encoder's weights and what of the configuration shapes an embedding, but neither calibration nor threshold: these
may be fitted again without re-embedding anybody, and the calibration carries its own version.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mltraining.speech import inference
from mltraining.speech import network as networks
from mltraining.speech.audio import Waveform, resample
from mltraining.speech.config import Config, ConfigError
from mltraining.speech.features import LogMel
from mltraining.speech.network import SpeakerNetwork
from mltraining.speech.scoring import Calibration, cosine

ENCODER, HEAD, DESCRIPTION, CLASSES = "encoder.safetensors", "head.safetensors", "pipeline.json", "classes.json"


class PipelineError(ValueError):
    """The folder is no scoring pipeline, is damaged, or lacks the part that was asked for."""

    code = "invalid_pipeline"


class ScoringPipeline:
    """A loaded pipeline. Safe to share between threads; the same audio gives the same embedding."""

    def __init__(
        self,
        *,
        network: SpeakerNetwork,
        config: Config,
        fingerprint: str,
        calibration: Calibration,
        threshold: float,
        metrics: dict[str, Any],
        data_hash: str,
        classes: list[str],
        class_rows: np.ndarray | None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        device = next(network.parameters()).device
        self.features = LogMel(config.audio).to(device)
        self.config = config
        self.fingerprint = fingerprint
        self.dimensions = network.dimensions
        self.calibration = calibration
        self.threshold = threshold
        self.metrics = metrics
        self.data_hash = data_hash
        self.classes = classes
        self.class_rows = class_rows

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "ScoringPipeline":
        """Raises PipelineError where a file is missing, damaged or not what the fingerprint was taken of."""
        folder = Path(folder)
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            config = Config.from_dict(description["config"])
            if fingerprint_of(folder / ENCODER, config) != description["fingerprint"]:
                raise PipelineError(f"{folder.name}: the weights or the configuration are not the fingerprint's")
            calibration = Calibration.of(**{name: description["calibration"][name] for name in CALIBRATED})
            if calibration.version != description["calibration"]["version"]:
                raise PipelineError(f"{folder.name}: the calibration is not its version's")
            threshold = float(description["threshold"])
            if not 0 < threshold < 1:
                raise PipelineError(f"{folder.name}: the threshold is no probability")
            classes, head = _load_head(folder)
            class_rows = head.pop("class_rows", None)
            network = networks.build(config, len(classes) if head else 0, weights=False)
            weights = load_file(folder / ENCODER) | {f"head.{name}": value for name, value in head.items()}
            network.load_state_dict(weights)
            return cls(
                network=network.to(device),
                config=config,
                fingerprint=description["fingerprint"],
                calibration=calibration,
                threshold=threshold,
                metrics=description["metrics"],
                data_hash=description["data_hash"],
                classes=classes,
                class_rows=None if class_rows is None else class_rows.numpy(),
            )
        except OSError as error:
            raise PipelineError(f"{folder.name}: {error.filename and Path(error.filename).name} is missing") from error
        except (KeyError, TypeError, AttributeError, SafetensorError, RuntimeError, ConfigError) as error:
            raise PipelineError(f"{folder.name}: is damaged: {error}") from error
        except ValueError as error:
            if isinstance(error, PipelineError):
                raise
            raise PipelineError(f"{folder.name}: is damaged: {error}") from error

    def embed(self, waveform: Waveform) -> np.ndarray:
        """(dimensions,) float32, unit length. Long audio: the chunks' mean, weighed by their length."""
        return self._run(waveform)[0]

    def classify(self, waveform: Waveform) -> dict[str, float]:
        """Probability of each class, in the closed set; they need not sum to one.

        From the calibrated cosines to the class rows, or from the linear head where ``loss_function: BCE`` trained
        one. Raises PipelineError where the pipeline holds no head.
        """
        if self.class_rows is None:
            raise PipelineError("the pipeline has no class rows: it embeds, and knows no class")
        embedding, logits = self._run(waveform)
        ratios = self.calibration.log_likelihood_ratio(cosine(embedding, self.class_rows).astype(np.float64))
        probabilities = self.calibration.probability(ratios) if logits is None else 0.5 * (1 + np.tanh(logits / 2))
        return dict(zip(self.classes, probabilities.tolist(), strict=True))

    def _run(self, waveform: Waveform) -> tuple[np.ndarray, np.ndarray | None]:
        samples = resample(waveform.samples, waveform.sample_rate, self.config.audio.sample_rate)
        embeddings, logits = inference.run(self.network, self.features, [np.clip(samples, -1, 1)], self.config)
        return embeddings[0], None if logits is None else logits[0].astype(np.float64)


CALIBRATED = ("slope", "offset", "prior")


def export(
    folder: Path,
    *,
    network: SpeakerNetwork,
    config: Config,
    classes: list[str],
    class_rows: np.ndarray | None,
    calibration: Calibration,
    threshold: float,
    metrics: dict[str, Any],
    data_hash: str,
) -> str:
    """Write the folder, in whole or not at all, and return the fingerprint. class_rows: (classes, dimensions)."""
    folder = Path(folder)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    save_file({name: value for name, value in weights.items() if not name.startswith("head.")}, draft / ENCODER)
    fingerprint = fingerprint_of(draft / ENCODER, config)
    if class_rows is not None:
        head = {"class_rows": torch.from_numpy(np.ascontiguousarray(class_rows, dtype=np.float32))}
        if isinstance(network.head, torch.nn.Linear):
            head |= {"weight": weights["head.weight"], "bias": weights["head.bias"]}
        save_file(head, draft / HEAD)
        _write_json(draft / CLASSES, {"classes": classes, "head_sha256": _sha256(draft / HEAD).hexdigest()})
    _write_json(
        draft / DESCRIPTION,
        {
            "fingerprint": fingerprint,
            "dimensions": network.dimensions,
            "threshold": threshold,
            "calibration": {name: getattr(calibration, name) for name in (*CALIBRATED, "version")},
            "data_hash": data_hash,
            "metrics": metrics,
            "config": config.to_dict(),
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return fingerprint


def fingerprint_of(encoder: Path, config: Config) -> str:
    """SHA-256, in hexadecimal, over the bytes of the encoder's file and the settings that shape an embedding."""
    architecture, prediction = config.to_dict()["architecture"], config.to_dict()["prediction"]
    shaping = {
        "architecture": {name: architecture[name] for name in ("backbone", "pool", "embedding_dimensions")},
        "audio": {name: value for name, value in config.to_dict()["audio"].items() if name != "training_chunk_seconds"},
        "prediction": {name: value for name, value in prediction.items() if "chunk" in name},
        "mixed_precision": config.environment.mixed_precision_inference,
    }
    digest = _sha256(encoder)
    digest.update(json.dumps(shaping, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


def _load_head(folder: Path) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Class names and tensors; both empty where the pipeline is an encoder alone."""
    if not (folder / CLASSES).exists():
        return [], {}
    described = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
    if _sha256(folder / HEAD).hexdigest() != described["head_sha256"]:
        raise PipelineError(f"{folder.name}: {HEAD} is not what {CLASSES} describes")
    head = load_file(folder / HEAD)
    if len(head["class_rows"]) != len(described["classes"]):
        raise PipelineError(f"{folder.name}: {CLASSES} does not name every class row")
    return described["classes"], head


def _sha256(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
