"""A training run: its epochs, their batches, and the checkpoint after each."""

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel, on_16_bit_grid
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.training import checkpoints, dataset, starting, validation
from mltraining.speech.training.augment import mix_audio
from mltraining.speech.training.corruption import Corruption
from mltraining.speech.training.learner import Batch, Learner
from mltraining.speech.training.losses import one_hot
from mltraining.speech.training.manifest import Manifest
from mltraining.speech.training.processes import Processes
from mltraining.speech.training.teaching import Lessons

logger = logging.getLogger(__name__)

Event = dict[str, Any]  # what a run reports: "event", "phase", "percent", …; see docs/training-configuration.md
Progress = Callable[[Event], None]
DECODED, TRAINED = 5.0, 88.0  # percent of a run that is done when all clips are decoded, when all epochs are trained


class Stopped(Exception):
    """The run was asked to stop. The same call goes on from the last checkpoint."""


class Run:
    """One training run. Between epochs, all of its state is in ``checkpoints/last.pt``."""

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        clips: dataset.Clips,
        output: Path,
        processes: Processes,
        progress: Progress,
        should_stop: Callable[[], bool],
        *,
        pretrained: bool,
        lessons: Lessons | None = None,
    ) -> None:
        self.config, self.manifest, self.clips, self.output = config, manifest, clips, output
        self.processes, self.progress, self.should_stop = processes, progress, should_stop
        self.history: list[dict[str, Any]] = []
        training = config.training
        torch.manual_seed(config.environment.seed)
        self.crops = _balanced_crops(config, manifest, clips, lessons) if training.crops_an_epoch else None
        self.classes = self.crops.classes if self.crops else len(manifest.classes)
        self.features = LogMel(config.audio).to(processes.device)
        network = build_network(config, self.classes, weights=pretrained).to(processes.device)
        if pretrained and network.tells_voices and self.crops is not None:
            if lessons is not None:
                starting.settle(network, self.features, self.crops, config, processes.device)
            starting.imprint(network, self.features, self.crops, config, lessons)
        self.batches = dataset.batches_an_epoch(
            training.crops_an_epoch or len(manifest.train),
            training.batch_size,
            training.drop_last_batch or self.crops is not None,
        )
        if self.crops is None and training.drop_last_batch and len(manifest.train) < training.batch_size:
            logger.warning("training.drop_last_batch: all clips fit in one batch, which is kept")
        steps = -(-self.batches // training.grad_accumulation)
        self.learner = Learner(config, network, self.features, processes, steps_an_epoch=steps)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.learner.load_state_dict(state)
        self.history = state["history"]
        logger.info("resuming after epoch %d", len(self.history))

    def check_stop(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.should_stop():
            raise Stopped

    def fit(self) -> None:
        """Train the epochs that are left. After each: metrics, a checkpoint and an "epoch" event."""
        epochs = self.config.training.epochs
        self.progress({"event": "phase", "phase": "training", "percent": self._percent(len(self.history), 0)})
        for epoch in range(len(self.history) + 1, epochs + 1):
            started = time.monotonic()
            row: dict[str, Any] = {"epoch": epoch} | self._epoch(epoch)
            if self.processes.first:
                row |= self._evaluate(last=epoch == epochs, epoch=epoch)
            row |= {
                "seconds": round(time.monotonic() - started, 3),
                "learning_rate": self.learner.optimizer.param_groups[0]["lr"],
            }
            self.history.append(row)
            if self.processes.first:
                self.save()
                self._report("epoch", epoch, self._percent(epoch, 0), row)
            self.processes.wait()
            self.check_stop()

    def _percent(self, epochs_done: int, share: float) -> float:
        return DECODED + (TRAINED - DECODED) * (epochs_done + share) / self.config.training.epochs

    def _report(self, event: str, epoch: int, percent: float, metrics: dict[str, Any]) -> None:
        place = {"epoch": epoch, "epochs": self.config.training.epochs, "percent": percent}
        self.progress({"event": event, "phase": "training", **place, "metrics": metrics})

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train on the training clips once.

        Returns the mean loss over the clips of all processes, how many went through in a second, and the share of the
        time in which the device waited for them. That share is near 0 where the device, and not the preparation, is
        the limit.
        """
        training, seed = self.config.training, self.config.environment.seed
        torch.manual_seed(np.random.SeedSequence([seed, epoch, self.processes.rank]).generate_state(1)[0].item())
        mixing = np.random.default_rng([seed, epoch, self.processes.rank, 2])
        batches = self._batches(epoch)
        self.learner.model.train()
        total, count, done, waited, began = 0.0, 0.0, 0, 0.0, time.monotonic()
        while True:
            asked = time.monotonic()
            group = list(islice(batches, training.grad_accumulation))
            waited += time.monotonic() - asked
            if not group:
                break
            prepared = [self._to_device(crops, mixing) for crops in group]
            self.learner.margin = self.margin(epoch - 1 + done / self.batches)
            loss = self.learner.step_within_memory(prepared)
            clips = sum(len(batch.samples) for batch in prepared)
            total, count, done = total + loss * clips, count + clips, done + len(group)
            percent = self._percent(epoch - 1, done / self.batches)
            self._report("step", epoch, percent, {"train_loss": total / count})
            self.check_stop()
        took = time.monotonic() - began
        total, count = self.processes.summed(total, count)
        return {"train_loss": total / count, "crops_a_second": count / took, "waited_for_data": waited / took}

    def _batches(self, epoch: int) -> Iterator[dataset.Crops]:
        config, training = self.config, self.config.training
        seconds = training.large_margin_chunk_seconds if self._large(epoch) else config.audio.training_chunk_seconds
        length = round(seconds * config.audio.sample_rate)
        shortest = training.shortest_chunk_seconds or seconds
        place = {"rank": self.processes.rank, "world": self.processes.world}
        if self.crops is not None:
            return self.crops.batches(
                crops=training.crops_an_epoch,
                batch_size=training.batch_size,
                lengths=(min(length, round(shortest * config.audio.sample_rate)), length),
                seed=[config.environment.seed, epoch],
                workers=config.environment.number_of_workers,
                **place,
            )
        return dataset.epoch_batches(
            self.manifest.train,
            self.clips,
            self.manifest.labels,
            batch_size=training.batch_size,
            chunk=length,
            drop_last=training.drop_last_batch,
            random=np.random.default_rng([config.environment.seed, epoch]),
            **place,
        )

    def _large(self, epoch: int) -> bool:
        """Tell whether the epoch belongs to the large-margin fine-tuning (Thienpondt et al., 2021)."""
        return epoch > self.config.training.epochs - self.config.training.large_margin_epochs

    def margin(self, epochs_done: float) -> float:
        """Return the margin at a moment of the run. It rises in a straight line over ``margin_warmup_epochs``."""
        training = self.config.training
        if self._large(int(epochs_done) + 1):
            return training.large_margin
        warm = epochs_done / training.margin_warmup_epochs if training.margin_warmup_epochs else 1.0
        return training.margin * min(1.0, warm)

    def _to_device(self, drawn: dataset.Crops, mixing: np.random.Generator) -> Batch:
        crops, labels, lessons = drawn
        device = self.processes.device
        samples = on_16_bit_grid(torch.from_numpy(crops).to(device))
        targets = one_hot(torch.from_numpy(labels).to(device), self.classes)
        samples, targets = mix_audio(samples, targets, self.config.augmentation, mixing)
        return Batch(samples, targets, None if lessons is None else torch.from_numpy(lessons).to(device))

    def _evaluate(self, *, last: bool, epoch: int) -> dict[str, float]:
        training = self.config.training
        if not last and epoch % training.evaluation_epochs:
            return {}

        def on(rows: np.ndarray) -> dict[str, float]:
            return validation.closed_set(
                self.learner.averaged, self.features, self.clips, self.manifest, rows, self.config
            )

        row = on(self.manifest.validation)
        if training.calculate_train_metric:
            seen = on(self.manifest.train)
            row |= {f"train_{name}": seen[name] for name in ("roc_auc", "rank_one")}
        return row

    def save(self) -> None:
        """Write the checkpoint of the last epoch and, with ``save_best_checkpoint``, of the best."""
        folder = self.output / "checkpoints"
        if self.config.training.save_best_checkpoint and self._best_epoch() == len(self.history):
            best = {"model": self.learner.averaged.state_dict(), "epoch": len(self.history)}
            checkpoints.save(folder / "best.pt", best)
        described = {"config": self.config.to_dict(), "data_hash": self.clips.data_hash, "history": self.history}
        checkpoints.save(folder / "last.pt", described | self.learner.state_dict())

    def _best_epoch(self) -> int:
        """The first epoch with the best of ``prediction.metric``, among those that were evaluated."""
        name = self.config.prediction.metric.lower()
        return int(max(self.history, key=lambda row: (row.get(name, -1.0), -row["epoch"]))["epoch"])

    def best_network(self) -> SpeakerNetwork:
        """Return the network to export: the best epoch's with ``save_best_checkpoint``, else the last."""
        if self.config.training.save_best_checkpoint:
            state = checkpoints.load(self.output / "checkpoints" / "best.pt")
            if state:
                self.learner.network.load_state_dict(state["model"])
                return self.learner.network
        return self.learner.averaged


def _balanced_crops(
    config: Config, manifest: Manifest, clips: dataset.Clips, lessons: Lessons | None
) -> dataset.BalancedCrops:
    voices = [clips.samples[row] for row in manifest.train]
    return dataset.BalancedCrops(
        manifest,
        clips,
        speeds=config.augmentation.speeds,
        speed_probability=config.augmentation.speed_probability,
        balance=config.training.speaker_balance,
        crops_a_speaker=config.training.crops_a_speaker,
        corrupt=Corruption(config.augmentation, voices, config.environment.seed),
        lessons=lessons,
        speaker_lesson_share=config.training.speaker_lesson_share,
    )
