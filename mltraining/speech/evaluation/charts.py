"""Charts of a training run and of an evaluation, and pictures of the time-frequency regions that decided."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from mltraining.speech.evaluation.metrics import (
    area_under_curve,
    best_log_likelihood_ratios,
    equal_error_rate,
    operating_points,
)
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork

MAX_NAMED_CLASSES = 60  # more names than this are illegible on an axis
INTERPRETED_SECONDS = 8.0
GRADIENT_STEPS = 16
SMOOTHING = (9, 7)  # mel rows, frames: a region is seen where single cells are noise
DET_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # where its axes are labelled
SHOWN_RATIO = 12.0  # natural log; what lies beyond is drawn at the edge
BLUE, RED, GREY = "#2f6fb3", "#c8452f", "#8a8f98"


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of target (n,) and impostor (m,) trials, to be drawn under a label."""

    label: str
    target: np.ndarray
    impostor: np.ndarray


def write_predictions(output: Path, frame: pd.DataFrame) -> None:
    """Write validation_predictions.csv and .parquet, with one row for each held-out clip."""
    frame.to_csv(output / "validation_predictions.csv", index=False)
    frame.to_parquet(output / "validation_predictions.parquet", index=False)


def write_charts(
    output: Path,
    *,
    history: list[dict[str, Any]],
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    target_scores: np.ndarray,
    impostor_scores: np.ndarray,
) -> None:
    """Write charts/{losses,roc,confusion_matrix,score_histogram}.png. truth (n,), probabilities (n, classes)."""
    folder = output / "charts"
    folder.mkdir(parents=True, exist_ok=True)
    _save(_losses(history), folder / "losses.png")
    _save(_roc(target_scores, impostor_scores), folder / "roc.png")
    _save(_confusion_matrix(truth, probabilities, classes), folder / "confusion_matrix.png")
    _save(_score_histogram(target_scores, impostor_scores), folder / "score_histogram.png")


def write_interpretations(
    output: Path,
    *,
    network: SpeakerNetwork,
    features: LogMel,
    clips: Sequence[tuple[str, np.ndarray, int, float]],
    classes: Sequence[str],
) -> None:
    """Write interpretations/NN-name.png for each (name, samples (n,) at the configured rate, class index, probability).

    Integrated gradients (Sundararajan et al., ICML 2017) of the class's logit on the log-mel, from the clip's own
    quietest tenth in each mel row, smoothed. Red regions speak for the clip's class, blue ones against it.
    """
    folder = output / "interpretations"
    folder.mkdir(parents=True, exist_ok=True)
    device = next(network.parameters()).device
    rate = features.audio.sample_rate
    was_training = network.training
    network.eval()
    for number, (name, samples, label, probability) in enumerate(clips, start=1):
        piece = torch.from_numpy(samples[: int(INTERPRETED_SECONDS * rate)]).to(device)
        with torch.no_grad():
            logmel = features(piece[None])
        evidence = integrated_gradients(network, logmel, label)
        figure = _interpretation(logmel[0, 0].cpu().numpy(), evidence, len(piece) / rate, features)
        figure.suptitle(f"{name}\n{classes[label]}: probability {probability:.3f}", fontsize=10)
        safe = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).with_suffix("").as_posix()).strip("-")
        _save(figure, folder / f"{number:02d}-{safe[-80:]}.png")
    network.train(was_training)


def write_detection_error_tradeoff(path: Path, curves: Sequence[Curve]) -> None:
    """Draw false rejects against false accepts, on axes of normal deviates (Martin et al., 1997)."""
    figure, axes = _figure("Detection error trade-off", "false accept rate", "false reject rate", size=(6.5, 6))
    deviate = np.vectorize(NormalDist().inv_cdf)
    for each in curves:
        miss, false_accept = operating_points(each.target, each.impostor)
        low, high = DET_RATES[0] / 4, 1 - DET_RATES[0] / 4
        x, y = deviate(false_accept.clip(low, high)), deviate(miss.clip(low, high))
        eer = 100 * equal_error_rate(each.target, each.impostor)
        axes.step(x, y, where="post", linewidth=1.5, label=f"{each.label}: EER {eer:.2f} %")
    ends = deviate(np.array([DET_RATES[0] * 0.8, DET_RATES[-1]]))
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(deviate(np.array(DET_RATES)).tolist()))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * NormalDist().cdf(value):g} %"))
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def write_calibration(path: Path, curves: Sequence[Curve]) -> None:
    """Draw log-likelihood ratios against those of the best monotone recalibration.

    On the diagonal a ratio means what it says; where the curve is flatter, the ratio is overconfident.
    """
    figure, axes = _figure(
        "Calibration", "log-likelihood ratio of the model", "log-likelihood ratio that the trials show", size=(6.5, 6)
    )
    for each in curves:
        given = np.concatenate([each.target, each.impostor])
        best = np.concatenate(best_log_likelihood_ratios(each.target, each.impostor)).clip(-SHOWN_RATIO, SHOWN_RATIO)
        order = np.argsort(given, kind="stable")
        axes.step(given[order], best[order], where="mid", linewidth=1.5, label=each.label)
    axes.plot([-SHOWN_RATIO, SHOWN_RATIO], [-SHOWN_RATIO, SHOWN_RATIO], color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xlim(-SHOWN_RATIO, SHOWN_RATIO)
    axes.set_ylim(-SHOWN_RATIO * 1.02, SHOWN_RATIO * 1.02)
    if curves:
        axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def integrated_gradients(network: SpeakerNetwork, logmel: torch.Tensor, label: int) -> np.ndarray:
    """Return what each region adds to the logit of class ``label``, smoothed: (1, 1, mel, frames) -> (mel, frames)."""
    baseline = logmel.quantile(0.1, dim=3, keepdim=True)
    total = torch.zeros_like(logmel)
    for step in range(GRADIENT_STEPS):
        share = (step + 0.5) / GRADIENT_STEPS
        point = (baseline + share * (logmel - baseline)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(point)[0][0, label], point)
        total += gradient
    evidence = total / GRADIENT_STEPS * (logmel - baseline)
    rows, frames = SMOOTHING
    smooth = torch.nn.functional.avg_pool2d(
        evidence, SMOOTHING, stride=1, padding=(rows // 2, frames // 2), count_include_pad=False
    )
    return smooth[0, 0].detach().cpu().numpy()


def _losses(history: list[dict[str, Any]]) -> Figure:
    figure, axes = _figure("Loss by epoch", "epoch", "loss")
    for name, colour, label in (("train_loss", BLUE, "training"), ("validation_loss", RED, "held-out clips")):
        points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.has_data():
        axes.legend(frameon=False)
    return figure


def _roc(target: np.ndarray, impostor: np.ndarray) -> Figure:
    miss, false_accept = operating_points(target, impostor)
    figure, axes = _figure("Receiver operating characteristic", "false accept rate", "true accept rate")
    floor = 1 / (2 * len(impostor))  # a rate of zero has no place on a logarithmic axis
    axes.step(np.maximum(false_accept, floor), 1 - miss, where="post", color=BLUE, linewidth=2)
    axes.set_xscale("log")
    axes.set_xlim(floor, 1)
    axes.set_ylim(min(0.9, float(np.interp(floor, false_accept[::-1], 1 - miss[::-1]))) - 0.02, 1.005)
    auc, eer = area_under_curve(target, impostor), equal_error_rate(target, impostor)
    axes.text(
        0.97,
        0.05,
        f"AUC {auc:.5f}\nEER {100 * eer:.2f} %\n{len(target):,} target, {len(impostor):,} impostor trials",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
    )
    return figure


def _confusion_matrix(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(3 + 0.16 * len(classes), 5, 12))
    figure, axes = _figure("Confusion matrix", "most probable class", "class", size=(side + 1, side))
    axes.grid(False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the class's clips")
    if len(classes) <= MAX_NAMED_CLASSES:
        names = [str(name)[-24:] for name in classes]
        size = 8 if len(classes) <= 20 else 6
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
    return figure


def _score_histogram(target: np.ndarray, impostor: np.ndarray) -> Figure:
    figure, axes = _figure("Scores of held-out clips", "cosine score", "share of trials")
    low, high = min(target.min(), impostor.min()), max(target.max(), impostor.max())
    bins = np.linspace(low, high if high > low else low + 1, 61).tolist()
    for scores, colour, label in ((impostor, GREY, "impostor"), (target, BLUE, "target")):
        weights = np.full(len(scores), 1 / len(scores))
        axes.hist(scores, bins=bins, weights=weights, color=colour, alpha=0.65, label=f"{label} ({len(scores):,})")
    axes.legend(frameon=False)
    return figure


def _interpretation(logmel: np.ndarray, evidence: np.ndarray, seconds: float, features: LogMel) -> Figure:
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    extent = (0.0, seconds, 0.0, float(len(logmel)))
    low, high = np.percentile(logmel, [5, 99.5])
    for axes, colours in ((upper, "magma"), (lower, "Greys")):
        axes.imshow(logmel, origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=low, vmax=high)
        _mel_ticks(axes, features, len(logmel))
    reach = np.percentile(np.abs(evidence), 99.5) or 1.0
    strength = np.clip(np.abs(evidence) / reach, 0, 1)
    image = lower.imshow(
        evidence / reach,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        alpha=0.85 * strength**0.7,
    )
    upper.set_title("log-mel spectrogram", fontsize=10)
    lower.set_title("what decided: red for the class, blue against it", fontsize=10)
    lower.set_xlabel("seconds")
    bar = figure.colorbar(image, ax=lower, fraction=0.04, pad=0.01, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["against", "0", "for"])
    return figure


def _mel_ticks(axes: Axes, features: LogMel, rows: int) -> None:
    def to_mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    low, high = to_mel(features.audio.minimum_frequency), to_mel(features.maximum_frequency)
    shown = [hertz for hertz in (200, 500, 1000, 2000, 4000, 8000) if low <= to_mel(hertz) <= high]
    axes.set_yticks([(to_mel(hertz) - low) / (high - low) * rows for hertz in shown], [f"{hertz}" for hertz in shown])
    axes.set_ylabel("Hz")


def _figure(title: str, x: str, y: str, size: tuple[float, float] = (7, 4.5)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)  # no pyplot: its global state is not safe between threads
    figure.savefig(path, dpi=120)
