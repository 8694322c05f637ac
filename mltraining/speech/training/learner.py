"""One step of training: forward, loss, backward, optimiser. It holds everything that a step changes."""

import logging
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mltraining.speech.config import MARGIN_LOSSES, Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import CosineHead, SpeakerNetwork
from mltraining.speech.scoring import inference
from mltraining.speech.training import losses, optimization, specaugment
from mltraining.speech.training.processes import Processes

logger = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]  # samples (batch, n) float32 and targets (batch, classes)


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
            self.average.update_parameters(self.network)
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

    def _needs_scaler(self) -> bool:
        wanted = self.config.environment.mixed_precision_training and self.processes.device.type == "cuda"
        return wanted and not torch.cuda.is_bf16_supported()


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
