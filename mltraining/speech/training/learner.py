"""One step of training: forward, loss, backward, optimiser. It holds everything that a step changes."""

import logging
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mltraining.speech.config import MARGIN_LOSSES, Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import CosineHead, SpeakerNetwork
from mltraining.speech.scoring import inference
from mltraining.speech.training import losses, optimization, specaugment, teaching
from mltraining.speech.training.processes import Processes

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Crops on the device, their classes and, where there are teachers, what these say of them."""

    samples: Tensor  # (batch, n) float32
    targets: Tensor  # (batch, classes)
    lessons: Tensor | None = None  # (batch, dimensions)

    def parts(self, count: int) -> "list[Batch]":
        """Divide the batch."""
        lessons = [None] * count if self.lessons is None else self.lessons.chunk(count)
        divided = zip(self.samples.chunk(count), self.targets.chunk(count), lessons, strict=False)
        return [Batch(*part) for part in divided]


class Learner:
    """The network in training, its moving average, the optimiser and the schedule."""

    def __init__(
        self,
        config: Config,
        network: SpeakerNetwork,
        features: LogMel,
        processes: Processes,
        *,
        steps_an_epoch: int,
    ) -> None:
        self.config, self.network, self.features, self.processes = config, network, features, processes
        training = config.training
        self.average: AveragedModel | None = None
        if training.ema_decay:
            update = get_ema_multi_avg_fn(training.ema_decay)
            self.average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
            self.average.requires_grad_(False)
        self.optimizer = optimization.build_optimizer(network, training)
        self.scheduler = optimization.build_scheduler(self.optimizer, training, steps_an_epoch=steps_an_epoch)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._needs_scaler())
        self.margin = 0.0
        self.parts = 1  # a batch goes through the network in so many parts, doubled where memory runs out
        self.model: nn.Module = network
        if processes.world > 1:
            if processes.device.type == "cuda":
                self.network = cast(SpeakerNetwork, nn.SyncBatchNorm.convert_sync_batchnorm(network))
            self.model = nn.parallel.DistributedDataParallel(self.network)

    @property
    def averaged(self) -> SpeakerNetwork:
        """The network that is evaluated and exported: the moving average with ``ema_decay``, else the network."""
        if self.average is None:
            return self.network
        return cast(SpeakerNetwork, self.average.module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a step changes, for a checkpoint."""
        return {
            "model": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])

    def step_within_memory(self, batches: list[Batch]) -> float:
        """``step``; with ``automatically_adjust_batch_size``, in ever smaller parts until a batch fits in memory."""
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

    def step(self, batches: list[Batch]) -> float:
        """Follow the gradient of the mean loss over all clips of ``batches`` once. Returns that loss."""
        training = self.config.training
        clips = sum(len(batch.samples) for batch in batches)
        parts = [part for batch in batches for part in batch.parts(self.parts)]
        total = torch.zeros((), device=self.processes.device)
        for number, part in enumerate(parts, start=1):
            alone = self.processes.world > 1 and number < len(parts)
            with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                spectrograms = specaugment.mask(
                    self.features(part.samples),
                    rows=self.config.augmentation.frequency_mask_rows,
                    frames=self.config.augmentation.time_mask_frames,
                )
                with inference.autocast(self.processes.device, self.config.environment.mixed_precision_training):
                    logits, embeddings = self.model(spectrograms)
                loss = self._loss(logits, embeddings, part) * (len(part.samples) / clips)
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
            self.average.update_parameters(self.network)
        return float(total)

    def _loss(self, logits: Tensor, embeddings: Tensor, batch: Batch) -> Tensor:
        training = self.config.training
        loss = training.label_weight * self._label_loss(logits, batch.targets)
        if training.prototypical_weight:
            labels, crops = batch.targets.argmax(dim=1), training.crops_a_speaker
            prototypical = losses.prototypical(embeddings, labels, crops=crops, scale=training.prototypical_scale)
            loss = loss + training.prototypical_weight * prototypical
        if batch.lessons is not None:
            loss = loss + training.prediction_weight * teaching.prediction_loss(embeddings, batch.lessons)
            loss = loss + training.relation_weight * teaching.relation_loss(embeddings, batch.lessons)
        return loss

    def _label_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        training, head, scale = self.config.training, self.network.head, self.config.training.margin_scale
        if training.loss_function in MARGIN_LOSSES and isinstance(head, CosineHead):
            cosines = head.cosines(logits)
            if training.loss_function == "AAMSoftmax":
                return losses.aam_softmax(cosines, targets, scale=scale, margin=self.margin)
            return losses.sphereface2(cosines, targets, scale=scale, margin=self.margin, bias=head.bias)
        return losses.binary_cross_entropy(logits, targets)

    def _needs_scaler(self) -> bool:
        wanted = self.config.environment.mixed_precision_training and self.processes.device.type == "cuda"
        return wanted and not torch.cuda.is_bf16_supported()


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
