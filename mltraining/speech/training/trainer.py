"""The training loop: epochs, checkpoints, resumption, several processes."""

import copy
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn

from mltraining.speech.config import MARGIN_LOSSES, Config, ConfigError
from mltraining.speech.features.log_mel import LogMel, on_16_bit_grid, top_frequency
from mltraining.speech.network import CosineHead, SpeakerNetwork, build_network
from mltraining.speech.scoring import inference
from mltraining.speech.training import (
    checkpoints,
    dataset,
    finishing,
    losses,
    manifest,
    optimization,
    specaugment,
    validation,
)
from mltraining.speech.training.augment import mix_audio
from mltraining.speech.training.corruption import Corruption
from mltraining.speech.training.losses import one_hot

logger = logging.getLogger(__name__)

Progress = Callable[[dict[str, Any]], None]
Decoded = tuple[manifest.Manifest, dataset.Clips]
IMPRINTED_SECONDS = 4.0  # of each speaker, where the class rows start from an earlier encoder
DECODED, TRAINED = 5.0, 88.0  # percent of a run that is done when all clips are decoded, when all epochs are trained


class Stopped(Exception):
    """``should_stop`` said so; the same call goes on from the last checkpoint."""


def train(
    config: Config,
    output: Path,
    *,
    progress: Progress = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    decoded: Decoded | None = None,
) -> dict[str, Any]:
    """Train, evaluate, calibrate and export into ``output``; resume where it has a checkpoint of the same run.

    ``decoded`` is what ``decode`` gives for the same speech, where several runs share it.
    Returns the final metrics (see ``finishing``). Every random choice of an epoch follows from the seed and the
    epoch's number, so that a resumed run does what an uninterrupted one does. Raises ConfigError, DataError, Stopped.
    """
    processes = Processes.start(config)
    try:
        run = _prepare(config, output, processes, progress, should_stop, decoded)
        run.fit()
        if not processes.first:
            return {}
        return finishing.finish(
            run.config, run.manifest, run.clips, run.best_network(), output, run.history, progress, run.check_stop
        )
    finally:
        processes.end()


@dataclass(frozen=True)
class Processes:
    """Where this process stands among those that torchrun started; alone without it."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def start(cls, config: Config) -> "Processes":
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = _device(config, int(os.environ.get("LOCAL_RANK", 0)))
        if world > 1:
            if config.training.batch_size % world:
                raise ConfigError(f"training.batch_size: must be a multiple of the {world} processes that share it")
            if config.training.automatically_adjust_batch_size:
                raise ConfigError("training.automatically_adjust_batch_size: is refused with several processes")
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, world, device)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def end(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def _device(config: Config, local_rank: int) -> torch.device:
    gpus = config.environment.gpus
    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        logger.warning("environment.gpus: none of %s is present; training on the CPU", ", ".join(gpus))
        return torch.device("cpu")
    if local_rank >= len(gpus):
        raise ConfigError(f"environment.gpus: names {len(gpus)} GPUs, fewer than the processes on this machine")
    name = gpus[local_rank]
    if not name.isdigit() or int(name) >= torch.cuda.device_count():
        raise ConfigError(f"environment.gpus: there is no GPU {name!r}; this machine has {torch.cuda.device_count()}")
    torch.cuda.set_device(int(name))
    return torch.device("cuda", int(name))


def _prepare(
    config: Config,
    output: Path,
    processes: Processes,
    progress: Progress,
    should_stop: Callable[[], bool],
    decoded: Decoded | None,
) -> "Run":
    state = checkpoints.load(output / "checkpoints" / "last.pt")
    seed = config.environment.seed
    if seed == -1:
        seed = state["config"]["environment"]["seed"] if state else _common_seed(processes)
    progress({"event": "phase", "phase": "decoding", "percent": 0.0})
    split, clips = decoded or decode(config, seed=seed, progress=progress, should_stop=should_stop)
    resolved = config.with_values(
        audio={"maximum_frequency": top_frequency(config.audio, clips.source_rate)}, environment={"seed": seed}
    )
    if state:
        checkpoints.check_same_run(state, resolved, clips.data_hash)
    if processes.first:
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(yaml.safe_dump(resolved.to_dict(), sort_keys=False), encoding="utf-8")
    run = Run(resolved, split, clips, output, processes, progress, should_stop, pretrained=state is None)
    if state:
        run.restore(state)
    return run


def decode(
    config: Config,
    *,
    seed: int,
    progress: Progress = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Decoded:
    """The clips of a run and how they are divided. Raises ConfigError, DataError, Stopped."""
    split = manifest.read(config, seed=seed)

    def decoded(count: int) -> None:
        progress({"event": "step", "phase": "decoding", "percent": DECODED * count / len(split.clips)})
        if should_stop():
            raise Stopped

    return dataset.load(
        split,
        config.audio.sample_rate,
        threads=config.environment.number_of_workers,
        skip_unreadable=config.dataset.skip_unreadable,
        speech_only=config.audio.speech_only,
        on_progress=decoded,
    )


def _common_seed(processes: Processes) -> int:
    seed = torch.tensor(secrets.randbelow(2**31), device=processes.device)
    if processes.world > 1:
        dist.broadcast(seed, src=0)
    return int(seed)


class Run:
    """One training run's state, between epochs all of it in ``checkpoints/last.pt``."""

    def __init__(
        self,
        config: Config,
        split: manifest.Manifest,
        clips: dataset.Clips,
        output: Path,
        processes: Processes,
        progress: Progress,
        should_stop: Callable[[], bool],
        *,
        pretrained: bool,
    ) -> None:
        self.config, self.manifest, self.clips, self.output = config, split, clips, output
        self.processes, self.progress, self.should_stop = processes, progress, should_stop
        training = config.training
        torch.manual_seed(config.environment.seed)
        self.crops = _balanced(config, split, clips) if training.crops_an_epoch else None
        self.classes = self.crops.classes if self.crops else len(split.classes)
        self.network = build_network(config, self.classes, weights=pretrained).to(processes.device)
        self.features = LogMel(config.audio).to(processes.device)
        if pretrained and self.network.tells_voices and self.crops is not None:
            self._imprint(self.crops)
        self.average = copy.deepcopy(self.network).requires_grad_(False) if training.ema_decay else None
        self.optimizer = optimization.build_optimizer(self.network, training)
        self.batches = dataset.batches_an_epoch(
            training.crops_an_epoch or len(split.train),
            training.batch_size,
            training.drop_last_batch or self.crops is not None,
        )
        if self.crops is None and training.drop_last_batch and len(split.train) < training.batch_size:
            logger.warning("training.drop_last_batch: all clips fit in one batch, which is kept")
        steps = -(-self.batches // training.grad_accumulation)
        self.scheduler = optimization.build_scheduler(self.optimizer, training, steps_an_epoch=steps)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._needs_scaler())
        self.history: list[dict[str, Any]] = []
        self.margin = 0.0
        self.parts = 1  # a batch goes through the network in so many parts, doubled where memory runs out
        self.model: nn.Module = self.network
        if processes.world > 1:
            if processes.device.type == "cuda":
                self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
            self.model = nn.parallel.DistributedDataParallel(self.network)

    def _needs_scaler(self) -> bool:
        wanted = self.config.environment.mixed_precision_training and self.processes.device.type == "cuda"
        return wanted and not torch.cuda.is_bf16_supported()

    def _imprint(self, crops: dataset.BalancedCrops) -> None:
        """The class rows start where the encoder already hears the speakers (weight imprinting, Qi et al., 2018)."""
        if isinstance(self.network.head, CosineHead):
            voices = crops.voices(round(IMPRINTED_SECONDS * self.config.audio.sample_rate))
            embeddings, _ = inference.run(self.network, self.features, voices, self.config)
            with torch.no_grad():
                self.network.head.weight.copy_(torch.from_numpy(embeddings))

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = state["history"]
        logger.info("resuming after epoch %d", len(self.history))

    def check_stop(self) -> None:
        if self.should_stop():
            raise Stopped

    def fit(self) -> None:
        """Train what is left of the epochs; after each: metrics, checkpoint, an "epoch" event."""
        epochs = self.config.training.epochs
        self.progress({"event": "phase", "phase": "training", "percent": self._percent(len(self.history), 0)})
        for epoch in range(len(self.history) + 1, epochs + 1):
            started = time.monotonic()
            row: dict[str, Any] = {"epoch": epoch} | self._epoch(epoch)
            if self.processes.first:
                row |= self._evaluate(last=epoch == epochs, epoch=epoch)
            row |= {
                "seconds": round(time.monotonic() - started, 3),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
            }
            self.history.append(row)
            if self.processes.first:
                self._save()
                self.progress(
                    {
                        "event": "epoch",
                        "phase": "training",
                        "epoch": epoch,
                        "epochs": epochs,
                        "percent": self._percent(epoch, 0),
                        "metrics": row,
                    }
                )
            if self.processes.world > 1:
                dist.barrier()
            self.check_stop()

    def _percent(self, epochs_done: int, share: float) -> float:
        return DECODED + (TRAINED - DECODED) * (epochs_done + share) / self.config.training.epochs

    def _epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training clips.

        Returns the mean loss over the clips, how many went through in a second, and the share of the time in which
        the device had to wait for them: near 0 where the device is the limit, and not what prepares the clips.
        """
        training, seed = self.config.training, self.config.environment.seed
        torch.manual_seed(np.random.SeedSequence([seed, epoch, self.processes.rank]).generate_state(1)[0].item())
        mixing = np.random.default_rng([seed, epoch, self.processes.rank, 2])
        batches = self._batches(epoch)
        self.model.train()
        total, count, done, waited, began = 0.0, 0, 0, 0.0, time.monotonic()
        while True:
            asked = time.monotonic()
            group = list(islice(batches, training.grad_accumulation))
            waited += time.monotonic() - asked
            if not group:
                break
            prepared = [self._to_device(crops, labels, mixing) for crops, labels in group]
            self.margin = self._margin(epoch - 1 + done / self.batches)
            loss = self._step_within_memory(prepared)
            clips = sum(len(samples) for samples, _ in prepared)
            total, count, done = total + loss * clips, count + clips, done + len(group)
            self.progress(
                {
                    "event": "step",
                    "phase": "training",
                    "epoch": epoch,
                    "epochs": training.epochs,
                    "percent": self._percent(epoch - 1, done / self.batches),
                    "metrics": {"train_loss": total / count},
                }
            )
            self.check_stop()
        took = time.monotonic() - began
        return {"train_loss": total / count, "crops_a_second": count / took, "waited_for_data": waited / took}

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        config, training = self.config, self.config.training
        seconds = training.large_margin_chunk_seconds if self._large(epoch) else config.audio.training_chunk_seconds
        length = round(seconds * config.audio.sample_rate)
        place = {"rank": self.processes.rank, "world": self.processes.world}
        if self.crops is not None:
            return self.crops.batches(
                crops=training.crops_an_epoch,
                batch_size=training.batch_size,
                length=length,
                seed=[config.environment.seed, epoch],
                threads=config.environment.number_of_workers,
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
        """Whether the epoch belongs to the large-margin fine-tuning (Thienpondt et al., 2021)."""
        return epoch > self.config.training.epochs - self.config.training.large_margin_epochs

    def _margin(self, epochs_done: float) -> float:
        """It rises in a straight line over margin_warmup_epochs."""
        training = self.config.training
        if self._large(int(epochs_done) + 1):
            return training.large_margin
        return training.margin * min(
            1.0, epochs_done / training.margin_warmup_epochs if training.margin_warmup_epochs else 1
        )

    def _to_device(self, crops: np.ndarray, labels: np.ndarray, mixing: np.random.Generator) -> tuple[Tensor, Tensor]:
        samples = on_16_bit_grid(torch.from_numpy(crops).to(self.processes.device))
        targets = one_hot(torch.from_numpy(labels).to(self.processes.device), self.classes)
        return mix_audio(samples, targets, self.config.augmentation, mixing)

    def _step_within_memory(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """One step of the optimiser; with automatically_adjust_batch_size in ever smaller parts until it fits."""
        while True:
            try:
                return self.step(batches)
            except RuntimeError as error:  # of which torch.OutOfMemoryError is one
                adjust = self.config.training.automatically_adjust_batch_size
                if not adjust or not _out_of_memory(error) or self.parts >= self.config.training.batch_size:
                    raise
            self.parts *= 2
            self.optimizer.zero_grad(set_to_none=True)
            if self.processes.device.type == "cuda":
                torch.cuda.empty_cache()
            logger.warning("out of memory: each batch now goes through the network in %d parts", self.parts)

    def step(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """Accumulate the gradient of the mean loss over all clips of ``batches`` and step. Returns that loss."""
        training = self.config.training
        clips = sum(len(samples) for samples, _ in batches)
        parts = [
            part
            for samples, targets in batches
            for part in zip(samples.chunk(self.parts), targets.chunk(self.parts), strict=True)
        ]
        total = torch.zeros((), device=self.processes.device)
        for number, (samples, targets) in enumerate(parts, start=1):
            alone = self.processes.world > 1 and number < len(parts)
            with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                spectrograms = specaugment.mask(
                    self.features(samples),
                    rows=self.config.augmentation.frequency_mask_rows,
                    frames=self.config.augmentation.time_mask_frames,
                )
                with inference.autocast(self.processes.device, self.config.environment.mixed_precision_training):
                    logits, embeddings = self.model(spectrograms)
                loss = self._loss(logits, embeddings, targets) * (len(samples) / clips)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if training.gradient_clip > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        if self.average is not None:
            _move_average(self.average, self.network, training.ema_decay)
        return float(total)

    def _loss(self, logits: Tensor, embeddings: Tensor, targets: Tensor) -> Tensor:
        training, head, scale = self.config.training, self.network.head, self.config.training.margin_scale
        if training.loss_function in MARGIN_LOSSES and isinstance(head, CosineHead):
            cosines = head.cosines(logits)
            if training.loss_function == "AAMSoftmax":
                loss = losses.aam_softmax(cosines, targets, scale=scale, margin=self.margin)
            else:
                loss = losses.sphereface2(cosines, targets, scale=scale, margin=self.margin, bias=head.bias)
        else:
            loss = losses.binary_cross_entropy(logits, targets)
        if not training.prototypical_weight:
            return loss
        labels, crops = targets.argmax(dim=1), training.crops_a_speaker
        prototypical = losses.prototypical(embeddings, labels, crops=crops, scale=training.prototypical_scale)
        return loss + training.prototypical_weight * prototypical

    def _evaluate(self, *, last: bool, epoch: int) -> dict[str, Any]:
        training = self.config.training
        if not last and epoch % training.evaluation_epochs:
            return {}
        evaluated = self.network if self.average is None else self.average
        row = validation.closed_set(
            evaluated, self.features, self.clips, self.manifest, self.manifest.validation, self.config
        )
        if training.calculate_train_metric:
            seen = validation.closed_set(
                evaluated, self.features, self.clips, self.manifest, self.manifest.train, self.config
            )
            row |= {f"train_{name}": seen[f"{name}"] for name in ("roc_auc", "rank_one")}
        return row

    def _save(self) -> None:
        folder = self.output / "checkpoints"
        if self.config.training.save_best_checkpoint and self._best_epoch() == len(self.history):
            best = self.network if self.average is None else self.average
            checkpoints.save(folder / "best.pt", {"model": best.state_dict(), "epoch": len(self.history)})
        checkpoints.save(
            folder / "last.pt",
            {
                "config": self.config.to_dict(),
                "data_hash": self.clips.data_hash,
                "model": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "history": self.history,
            },
        )

    def _best_epoch(self) -> int:
        """The first epoch with the best of prediction.metric, among those evaluated."""
        name = self.config.prediction.metric.lower()
        return max(self.history, key=lambda row: (row.get(name, -1.0), -row["epoch"]))["epoch"]

    def best_network(self) -> SpeakerNetwork:
        if self.config.training.save_best_checkpoint:
            state = checkpoints.load(self.output / "checkpoints" / "best.pt")
            if state:
                self.network.load_state_dict(state["model"])
                return self.network
        return self.network if self.average is None else self.average


def _balanced(config: Config, split: manifest.Manifest, clips: dataset.Clips) -> dataset.BalancedCrops:
    voices = [clips.samples[row] for row in split.train]
    return dataset.BalancedCrops(
        split,
        clips,
        speeds=config.augmentation.speeds,
        speed_probability=config.augmentation.speed_probability,
        balance=config.training.speaker_balance,
        crops_a_speaker=config.training.crops_a_speaker,
        corrupt=Corruption(config.augmentation, voices, config.environment.seed),
    )


@torch.no_grad()
def _move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Each weight and running statistic of ``average`` moves 1 - ``decay`` of the way towards the network's."""
    own = [value for value in average.state_dict().values() if value.is_floating_point()]
    other = [value for value in network.state_dict().values() if value.is_floating_point()]
    torch._foreach_lerp_(own, other, 1 - decay)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
