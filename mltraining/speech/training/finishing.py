"""What happens after the last epoch: voiceprints, calibration, metrics, scoring pipeline, predictions, charts."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltraining.speech.config import Config
from mltraining.speech.evaluation import charts, metrics
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork
from mltraining.speech.scoring import inference, pipeline
from mltraining.speech.scoring.averaging import average
from mltraining.speech.scoring.cohort import Cohort
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import export_onnx, spectrograms, validation
from mltraining.speech.training.dataset import Clips
from mltraining.speech.training.manifest import Manifest

logger = logging.getLogger(__name__)

INTERPRETED = 4  # clips of the best and as many of the worst


def finish(
    config: Config,
    manifest: Manifest,
    clips: Clips,
    network: SpeakerNetwork,
    output: Path,
    history: list[dict[str, Any]],
    progress: Callable[[dict[str, Any]], None],
    check_stop: Callable[[], None],
) -> dict[str, Any]:
    """Write everything that a run leaves. Returns the final metrics, with the ``fingerprint`` of the pipeline if built.

    A speaker's voiceprint is the mean of its training clips' embeddings, weighted by duration. The calibration is
    fitted on the held-out clips against all voiceprints. These speakers trained the encoder, so it is optimistic about
    strangers.
    """
    device = next(network.parameters()).device
    features = LogMel(config.audio).to(device)
    threshold = config.prediction.probability_threshold

    def phase(name: str, percent: float) -> None:
        check_stop()
        progress({"event": "phase", "phase": name, "percent": percent})

    def embed(rows: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        def embedded(done: int) -> None:
            check_stop()
            percent = low + (high - low) * min(1.0, done / len(rows))
            progress({"event": "step", "phase": "evaluating", "percent": percent})

        samples = [clips.samples[row] for row in rows]
        embeddings, logits = inference.run(network, features, samples, config, on_clip=embedded)
        assert logits is not None  # it was trained with its head
        return embeddings, logits[:, : len(manifest.classes)]  # further ones are the speakers at other speeds

    phase("evaluating", 88.0)
    train, held_out = manifest.train, manifest.validation
    truth = manifest.labels[held_out]
    train_embeddings, _ = embed(train, 88.0, 93.0)
    rows = validation.voiceprints(train_embeddings, manifest.labels[train], clips.seconds[train], len(manifest.classes))
    embeddings, logits = embed(held_out, 93.0, 94.0)
    cosines = embeddings @ rows.T  # (held-out clips, classes)
    if config.training.keep_cohort and config.prediction.normalise_scores:
        cohort = Cohort(rows)
        mean, deviation = cohort.statistics(embeddings)
        cosines = cohort.normalise(cosines, cohort.statistics(rows), (mean[:, None], deviation[:, None]))
    calibration = validation.calibrate(cosines, truth, config)
    final = validation.open_set(cosines, truth, calibration, threshold)
    cosine_head = config.training.loss_function != "BCE"
    probabilities = (
        calibration.probability(calibration.log_likelihood_ratio(cosines))
        if cosine_head
        else validation.sigmoid(logits)
    )
    final["head"] = validation.rates(truth, validation.sigmoid(logits), threshold)
    final["training_clips_evaluated"] = config.training.train_validation_data

    if config.training.build_scoring_pipelines:
        phase("exporting", 94.0)
        final["fingerprint"] = pipeline.export(
            output / "pipeline",
            network=network,
            config=config,
            classes=manifest.classes,
            class_rows=rows,
            calibration=calibration,
            threshold=threshold,
            metrics=final,
            data_hash=clips.data_hash,
            half=config.training.half_precision_weights,
            cohort=rows if config.training.keep_cohort else None,
        )
        if config.training.build_onnx:
            phase("exporting", 95.0)

            def eer(export: ScoringPipeline) -> float:
                samples = [clips.samples[row] for row in held_out]
                found, _ = average(export.own.pooled, samples, config)
                return metrics.equal_error_rate(*validation.trials(truth, found @ rows.T))

            export_onnx.build(output / "pipeline", [clips.samples[row] for row in train], eer)
    write_metrics(output, history, final, config, manifest, clips)
    phase("reporting", 96.0)
    frame = pd.DataFrame(
        {
            "audio": manifest.clips["audio"].to_numpy()[held_out],
            "class": [manifest.classes[label] for label in truth],
            "fold": manifest.clips["fold"].to_numpy()[held_out],
        }
    )
    table = pd.DataFrame(probabilities, columns=manifest.classes)
    charts.write_predictions(output, pd.concat([frame, table], axis=1))
    target, impostor = validation.trials(truth, cosines)
    charts.write_charts(
        output,
        history=history,
        truth=truth,
        probabilities=probabilities,
        classes=manifest.classes,
        target_scores=target,
        impostor_scores=impostor,
    )
    spectrograms.write(output / "charts", manifest, clips, features, count=config.logging.number_of_audios)
    if config.training.run_interpretations:
        phase("interpreting", 98.0)
        order = np.argsort(probabilities[np.arange(len(truth)), truth])
        chosen = list(dict.fromkeys([*order[::-1][:INTERPRETED].tolist(), *order[:INTERPRETED].tolist()]))
        charts.write_interpretations(
            output,
            network=network,
            features=features,
            clips=[
                (
                    frame["audio"][number],
                    clips.samples[held_out[number]].astype(np.float32) / 32768,
                    int(truth[number]),
                    float(probabilities[number, truth[number]]),
                )
                for number in chosen
            ],
            classes=manifest.classes,
        )
    progress({"event": "done", "phase": "done", "percent": 100.0, "metrics": final})
    return final


def write_metrics(
    output: Path,
    history: list[dict[str, Any]],
    final: dict[str, Any],
    config: Config,
    manifest: Manifest,
    clips: Clips,
) -> None:
    """Write metrics.json (epochs, final metrics, what was trained on) and metrics.csv (one row for each epoch)."""
    content = {
        "experiment_name": config.experiment_name,
        "epochs": history,
        "final": final,
        "seed": config.environment.seed,
        "data_hash": clips.data_hash,
        "classes": len(manifest.classes),
        "training_clips": len(manifest.train),
        "validation_clips": len(manifest.validation),
        "training_seconds": round(float(clips.seconds[manifest.train].sum()), 1),
    }
    (output / "metrics.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    pd.DataFrame(history).to_csv(output / "metrics.csv", index=False)
