"""What a network that starts from an earlier encoder begins with: its statistics and its class rows."""

import numpy as np
import torch
from torch import nn

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import CosineHead, SpeakerNetwork
from mltraining.speech.scoring import inference
from mltraining.speech.training import dataset
from mltraining.speech.training.teaching import Lessons

SETTLING, BATCH = 256, 64  # crops that an earlier encoder gets used to, and how many at a time
VOICE_SECONDS = 4.0  # of each speaker, where a class row starts from them


@torch.no_grad()
def settle(
    network: SpeakerNetwork, features: LogMel, crops: dataset.BalancedCrops, config: Config, device: torch.device
) -> None:
    """Let an earlier encoder get used to what it hears now: its batch statistics, and the mean of its embeddings.

    Where it came from it may have heard other bands. The lessons are centred, and the bias of a projection that is not
    would take thousands of steps to follow.
    """
    length = round(config.audio.training_chunk_seconds * config.audio.sample_rate)
    seed = [config.environment.seed, 5]
    drawn = np.stack([crops.draw(length, seed, number)[0] for number in range(SETTLING)])
    heard = [features(batch.to(device)) for batch in torch.from_numpy(drawn).split(BATCH)]
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    network.train()
    for spectrograms in heard:
        network.pooled(spectrograms)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    if isinstance(network.projection, nn.Linear):
        network.projection.bias.sub_(torch.cat([network.pooled(spectrograms) for spectrograms in heard]).mean(dim=0))


@torch.no_grad()
def imprint(
    network: SpeakerNetwork, features: LogMel, crops: dataset.BalancedCrops, config: Config, lessons: Lessons | None
) -> None:
    """Start the class rows where the encoder hears the speakers (weight imprinting, Qi et al., 2018).

    With teachers, they start where these hear the speakers, since that is where the embeddings are to go.
    """
    if not isinstance(network.head, CosineHead):
        return
    if lessons is not None:
        embeddings = lessons.speakers.reshape(crops.classes, -1)
    else:
        voices = crops.voices(round(VOICE_SECONDS * config.audio.sample_rate))
        embeddings, _ = inference.run(network, features, voices, config)
    network.head.weight.copy_(torch.from_numpy(embeddings))
