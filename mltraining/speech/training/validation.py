"""Measurements on held-out clips: after each epoch, and of the finished network with voiceprints and calibration."""

from typing import Any

import numpy as np
import torch

from mltraining.speech.config import Config
from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.fitting import fit_calibration
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork
from mltraining.speech.scoring import inference
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.voiceprints import mean_voiceprint
from mltraining.speech.training.dataset import Clips
from mltraining.speech.training.losses import binary_cross_entropy, one_hot
from mltraining.speech.training.manifest import Manifest


def closed_set(
    network: SpeakerNetwork, features: LogMel, clips: Clips, manifest: Manifest, rows: np.ndarray, config: Config
) -> dict[str, float]:
    """Measure validation_loss, roc_auc, rank_one, and the shares of target and impostor trials over the threshold."""
    _, logits = inference.run(network, features, [clips.samples[row] for row in rows], config)
    assert logits is not None  # a network in training has its head
    logits = logits[:, : len(manifest.classes)]  # further ones are the same speakers at other speeds
    truth = manifest.labels[rows]
    targets = one_hot(torch.from_numpy(truth), len(manifest.classes))
    loss = binary_cross_entropy(torch.from_numpy(logits), targets)
    return {"validation_loss": float(loss)} | rates(truth, sigmoid(logits), config.prediction.probability_threshold)


def rates(truth: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Measure n clips with class indices ``truth`` (n,) and ``probabilities`` (n, classes)."""
    target, impostor = trials(truth, probabilities)
    return {
        "roc_auc": float(metrics.roc_auc(truth, probabilities)),
        "rank_one": float(metrics.rank_one(truth, probabilities)),
        "genuine_over_threshold": float((target >= threshold).mean()),
        "impostor_over_threshold": float((impostor >= threshold).mean()),
        "target_trials": len(target),
        "impostor_trials": len(impostor),
    }


def voiceprints(embeddings: np.ndarray, labels: np.ndarray, seconds: np.ndarray, classes: int) -> np.ndarray:
    """Average each class's embeddings, weighted by duration: (classes, dimensions), unit length."""
    return np.stack(
        [mean_voiceprint(embeddings[labels == label], seconds[labels == label]) for label in range(classes)]
    )


def calibrate(cosines: np.ndarray, truth: np.ndarray, config: Config) -> Calibration:
    """Fit the calibration on held-out clips against all voiceprints: cosines (n, classes), truth (n,)."""
    prior = config.prediction.calibration_prior or 1 / cosines.shape[1]
    own = truth[:, None] == np.arange(cosines.shape[1])
    return fit_calibration(cosines.ravel(), own.ravel(), prior)


def open_set(cosines: np.ndarray, truth: np.ndarray, calibration: Calibration, threshold: float) -> dict[str, Any]:
    """Measure the finished system on held-out clips: every clip against every voiceprint, calibrated."""
    ratios = calibration.log_likelihood_ratio(cosines)
    found = rates(truth, calibration.probability(ratios), threshold)
    target, impostor = trials(truth, ratios)
    return {
        "roc_auc": found["roc_auc"],
        "rank_one": found["rank_one"],
        "false_reject_rate": 1 - found["genuine_over_threshold"],
        "false_accept_rate": found["impostor_over_threshold"],
        "eer": float(metrics.equal_error_rate(target, impostor)),
        "cllr": float(metrics.cllr(target, impostor)),
        "target_trials": len(target),
        "impostor_trials": len(impostor),
        "threshold": threshold,
        "calibration_prior": calibration.prior,
    }


def trials(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide scores (n, classes) into target trials (n,) and impostor trials (n * (classes - 1),)."""
    own = truth[:, None] == np.arange(scores.shape[1])[None, :]
    return scores[own], scores[~own]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, in float64."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
