"""The scoring pipeline: one folder that scores audio without the training's code path, data or network access.

    encoder.safetensors  float32 or float16 weights up to the embedding
    pipeline.json        resolved configuration, fingerprint, calibration, threshold, metrics, data hash
    encoder.onnx, encoder-int8.onnx  optional: the same encoder for ONNX Runtime; pipeline.json has their SHA-256
    cohort.safetensors   optional: training speakers' mean embeddings (n, dimensions); scores are normalised with them,
                         unless ``prediction.normalise_scores`` is off
    head.safetensors     optional: the class rows, (classes, dimensions), and a linear head where BCE trained one
    classes.json         with it: the classes' names and the head's SHA-256

``imported`` describes the folder of an encoder from elsewhere, which has no encoder.safetensors and no classes.

The fingerprint names an embedding space: embeddings are comparable if, and only if, theirs are equal. So it covers
the encoder's weights and what of the configuration shapes an embedding, but not cohort, calibration or threshold: these
may be made again without re-embedding anybody, and the calibration carries its own version.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mltraining.speech.audio import measures, quality
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.config import Config, ConfigError
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort, Statistics
from mltraining.speech.scoring.encoder import Encoder, OwnEncoder, Runtime, Windows, fingerprint_of
from mltraining.speech.scoring.folder import (
    CLASSES,
    COHORT,
    DESCRIPTION,
    ENCODER,
    HEAD,
    PipelineError,
    amend,
    replacing,
    sha256,
    write_json,
)
from mltraining.speech.scoring.quality_measures import ENROLLMENT_SPEECH_SECONDS, QualityMeasures
from mltraining.speech.scoring.voiceprints import cosine

if TYPE_CHECKING:
    from mltraining.speech.network import SpeakerNetwork


@dataclass(frozen=True, eq=False)
class Comparison:
    """One clip against n voiceprints: (n,) float64 each. The ratio is in natural logarithm."""

    score: np.ndarray
    log_likelihood_ratio: np.ndarray
    probability: np.ndarray


class ScoringPipeline:
    """A loaded pipeline. Safe to share between threads; the same audio gives the same embedding."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        fingerprint: str,
        calibration: Calibration,
        threshold: float,
        metrics: dict[str, Any],
        data_hash: str,
        classes: list[str],
        class_rows: np.ndarray | None,
        linear: tuple[np.ndarray, np.ndarray] | None,
        cohort: Cohort | None,
        decoys: np.ndarray | None,
    ) -> None:
        self.encoder = encoder
        self.fingerprint = fingerprint
        self.calibration = calibration
        self.threshold = threshold
        self.metrics = metrics
        self.data_hash = data_hash
        self.classes = classes
        self.class_rows = class_rows
        self.linear = linear  # weight (classes, dimensions) and bias (classes,) where BCE trained a head
        self.cohort = cohort  # that scores are normalised with
        self.decoys = decoys  # voices (n, dimensions) that are no customer's

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", runtime: Literal["auto"] | Runtime = "auto") -> "ScoringPipeline":
        """Load a folder. Raises PipelineError where a file is missing, damaged or not what the fingerprint covers.

        ``runtime="auto"`` is, on a CPU, the folder's default export, else torch. An export runs on the CPU, on
        ``onnx_runtime.threads()`` threads, and needs no torch.
        """
        folder = Path(folder)
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            if "imported" in description:
                from mltraining.speech.scoring.imported import ImportedEncoder  # its front ends need torch

                encoder: Encoder = ImportedEncoder.load(folder, description)
            else:
                encoder = OwnEncoder.load(folder, description, device, runtime)
            calibration = Calibration.from_dict(description["calibration"])
            threshold = float(description["threshold"])
            if not 0 < threshold < 1:
                raise PipelineError(f"{folder.name}: the threshold is no probability")
            classes, head = _load_head(folder)
            class_rows = head.pop("class_rows", None)
            cohort = _load_cohort(folder, description)
            normalises = description["config"].get("prediction", {}).get("normalise_scores", True)
            return cls(
                encoder=encoder,
                fingerprint=description["fingerprint"],
                calibration=calibration,
                threshold=threshold,
                metrics=description["metrics"],
                data_hash=description["data_hash"],
                classes=classes,
                class_rows=class_rows,
                linear=(head["weight"], head["bias"]) if head else None,
                cohort=cohort if normalises else None,
                decoys=None if cohort is None else cohort.means,
            )
        except OSError as error:
            raise PipelineError(f"{folder.name}: {error.filename and Path(error.filename).name} is missing") from error
        except (KeyError, TypeError, AttributeError, SafetensorError, RuntimeError, ConfigError) as error:
            raise PipelineError(f"{folder.name}: is damaged: {error}") from error
        except ValueError as error:
            if isinstance(error, PipelineError):
                raise
            raise PipelineError(f"{folder.name}: is damaged: {error}") from error

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return self.encoder.dimensions

    @property
    def own(self) -> OwnEncoder:
        """The network that this library trained. Raises PipelineError where there is another encoder."""
        if not isinstance(self.encoder, OwnEncoder):
            raise PipelineError("the pipeline's encoder was imported, so it holds no network of this library")
        return self.encoder

    def embed(self, waveform: Waveform) -> np.ndarray:
        """Return the embedding (dimensions,) float32, of unit length. Long audio is embedded in chunks."""
        return self._run(waveform)[0]

    def listen(self, waveform: Waveform) -> tuple[np.ndarray, Windows | None]:
        """Embed, and return what the same pass tells of the windows of net speech; ``None`` where it does not."""
        return self.encoder.listen(self.samples(waveform))

    def score(self, embedding: np.ndarray, voiceprints: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Return the scores (n,) of embedding (d,) against voiceprints (n, d): AS-norm or the cosine.

        ``statistics`` are ``cohort.statistics(voiceprints)``, from a caller that keeps them.
        """
        cosines = cosine(embedding, voiceprints)
        if self.cohort is None:
            return cosines
        sides = statistics or self.cohort.statistics(voiceprints), self.cohort.statistics(embedding[None])
        return self.cohort.normalise(cosines, *sides)

    def compare(
        self,
        embedding: np.ndarray,
        quality: Quality,
        voiceprints: np.ndarray,
        speech_seconds: float | np.ndarray,
        statistics: Statistics | None = None,
    ) -> Comparison:
        """Return ``score``, calibrated, of a clip of this ``quality`` to voiceprints of (n,) seconds of net speech."""
        scores = self.score(embedding, voiceprints, statistics).astype(np.float64)
        measures = QualityMeasures(quality.speech_seconds, speech_seconds, quality.snr_db)
        ratios = self.calibration.log_likelihood_ratio(scores, measures)
        return Comparison(scores, ratios, self.calibration.probability(ratios))

    def bound(
        self, embedding: np.ndarray, quality: Quality, statistics: Statistics | None = None
    ) -> tuple[float | np.ndarray, float | np.ndarray]:
        """Return ``slope`` and ``offset``: no voiceprint of cosine c has a ratio above ``slope * c + offset``.

        They hold whatever net speech the voiceprints have. With ``statistics`` of (n,) voiceprints, each has its own.
        """
        measures = QualityMeasures(quality.speech_seconds, np.array(ENROLLMENT_SPEECH_SECONDS), quality.snr_db)
        offset = float(self.calibration.log_likelihood_ratio(np.zeros(2), measures).max())
        slope = self.calibration.slope
        if slope <= 0:  # a higher cosine says nothing then, so no cosine is too low
            return 0.0, np.inf
        if self.cohort is None:
            return slope, offset
        assert statistics is not None, "a score that is normalised needs the voiceprints' statistics"
        sides = statistics, self.cohort.statistics(embedding[None])
        at_zero, at_one = (self.cohort.normalise(np.array([each]), *sides) for each in (0.0, 1.0))
        return slope * (at_one - at_zero), slope * at_zero + offset

    def recalibrated(self, calibration: Calibration, threshold: float) -> "ScoringPipeline":
        """Return the same pipeline, sharing its weights, under another calibration and threshold in (0, 1)."""
        other = copy.copy(self)
        other.calibration, other.threshold = calibration, threshold
        return other

    def classify(self, waveform: Waveform) -> dict[str, float]:
        """Return the probability of each class in the closed set; they need not sum to one.

        From the calibrated scores against the class rows, or from the linear head where ``loss_function: BCE`` trained
        one. Raises PipelineError where the pipeline holds no head.
        """
        if self.class_rows is None:
            raise PipelineError("the pipeline has no class rows, so it cannot classify")
        embedding, mean = self._run(waveform)
        if self.linear is None:
            # A class row is of all the speech that trained: it counts as the longest enrollment.
            measured = quality.measure(waveform)
            probabilities = self.compare(
                embedding, measured, self.class_rows, max(ENROLLMENT_SPEECH_SECONDS)
            ).probability
        else:
            weight, bias = self.linear
            probabilities = 0.5 * (1 + np.tanh((weight @ mean + bias).astype(np.float64) / 2))
        return dict(zip(self.classes, probabilities.tolist(), strict=True))

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the encoder's rate."""
        return self.encoder.samples(measures.audible(waveform))

    def _run(self, waveform: Waveform) -> tuple[np.ndarray, np.ndarray]:
        """Embedding and mean pooled vector: (dimensions,) each."""
        return self.encoder.embed(self.samples(waveform))


def export(
    folder: Path,
    *,
    network: "SpeakerNetwork",
    config: Config,
    classes: list[str],
    class_rows: np.ndarray | None,
    calibration: Calibration,
    threshold: float,
    metrics: dict[str, Any],
    data_hash: str,
    half: bool = False,
    cohort: np.ndarray | None = None,
) -> str:
    """Write the folder, in whole or not at all, and return the fingerprint. class_rows: (classes, dimensions).

    ``half`` writes matrices and kernels as float16; vectors, and so all running statistics, stay float32. ``cohort``:
    speakers' mean embeddings (n, dimensions). They must not be secret, because they go wherever the pipeline goes. With
    one, the calibration is that of normalised scores.
    """
    # The file takes a tensor's memory as it lies, so it must be contiguous.
    weights = {name: value.contiguous().numpy(force=True) for name, value in network.state_dict().items()}
    weights = {name: value.astype(np.float32) if value.dtype.kind == "f" else value for name, value in weights.items()}
    encoder = {name: value for name, value in weights.items() if not name.startswith("head.")}
    with replacing(Path(folder)) as draft:
        save_file(
            {name: value.astype(np.float16) if half and value.ndim > 1 else value for name, value in encoder.items()},
            draft / ENCODER,
        )
        fingerprint = fingerprint_of(draft / ENCODER, config)
        if class_rows is not None:
            head = {"class_rows": np.ascontiguousarray(class_rows, dtype=np.float32)}
            if "head.log_scale" not in weights and "head.bias" in weights:  # a linear head, not one of cosines
                head |= {"weight": weights["head.weight"], "bias": weights["head.bias"]}
            save_file(head, draft / HEAD)
            write_json(draft / CLASSES, {"classes": classes, "head_sha256": sha256(draft / HEAD).hexdigest()})
        described: dict[str, Any] = {}
        if cohort is not None:
            if cohort.shape[1:] != (network.dimensions,):
                raise ValueError("the cohort is of another embedding space")
            means = Cohort(cohort).means
            save_file({"cohort": means.astype(np.float16) if half else means}, draft / COHORT)
            described["cohort_sha256"] = sha256(draft / COHORT).hexdigest()
        write_json(
            draft / DESCRIPTION,
            described
            | {
                "fingerprint": fingerprint,
                "dimensions": network.dimensions,
                "threshold": threshold,
                "calibration": calibration.to_dict(),
                "data_hash": data_hash,
                "metrics": metrics,
                "config": config.to_dict(),
            },
        )
    return fingerprint


def recalibrate(
    folder: Path, calibration: Calibration, threshold: float, calibrated_on: dict[str, Any] | None = None
) -> None:
    """Put another calibration, and the threshold on its probability, into force: pipeline.json, in one step.

    ``calibrated_on`` describes its trials: target_trials, impostor_trials, speakers, strangers (whether none of these
    speakers trained the model), source and, where it is known, distribution (of their ratios). Without it, whoever
    reads the folder must assume that they did train it.
    Raises ValueError for a threshold outside (0, 1).
    """
    if not 0 < threshold < 1:
        raise ValueError("the threshold must be between 0 and 1")
    amend(Path(folder), calibration=calibration.to_dict(), threshold=threshold, calibrated_on=calibrated_on)


def _load_head(folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Class names and tensors; both empty where the pipeline is an encoder alone."""
    if not (folder / CLASSES).exists():
        return [], {}
    described = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
    if sha256(folder / HEAD).hexdigest() != described["head_sha256"]:
        raise PipelineError(f"{folder.name}: {HEAD} is not what {CLASSES} describes")
    head = load_file(folder / HEAD)
    if len(head["class_rows"]) != len(described["classes"]):
        raise PipelineError(f"{folder.name}: {CLASSES} does not name every class row")
    return described["classes"], head


def _load_cohort(folder: Path, description: dict[str, Any]) -> Cohort | None:
    if "cohort_sha256" not in description:
        return None
    if sha256(folder / COHORT).hexdigest() != description["cohort_sha256"]:
        raise PipelineError(f"{folder.name}: {COHORT} is not what {DESCRIPTION} describes")
    means = load_file(folder / COHORT)["cohort"].astype(np.float32)
    if means.shape[1:] != (description["dimensions"],):
        raise PipelineError(f"{folder.name}: {COHORT} is of another embedding space")
    return Cohort(means)
