"""The processes that train together: one alone, or several that torchrun started."""

import logging
import os
import secrets
from dataclasses import dataclass

import torch
import torch.distributed as dist

from mltraining.speech.config import Config, ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together, and its device."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def start(cls, config: Config) -> "Processes":
        """Read torchrun's environment and join the group. Raises ConfigError for devices or batches that do not fit."""
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
        """Whether this process evaluates, reports and writes files."""
        return self.rank == 0

    def draw_seed(self) -> int:
        """Draw a random seed, the same in all processes."""
        seed = torch.tensor(secrets.randbelow(2**31), device=self.device)
        if self.world > 1:
            dist.broadcast(seed, src=0)
        return int(seed)

    def summed(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.all_reduce(sums)
        return sums.tolist()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def end(self) -> None:
        """Leave the group."""
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
