"""What a network that starts from an earlier encoder begins with: its projection, and its class rows."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import CosineHead, SpeakerNetwork
from mltraining.speech.scoring import inference
from mltraining.speech.training import dataset
from mltraining.speech.training.teaching import Lessons

CLIPS = 1200  # that the projection is fitted on
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 4.0  # a shorter clip is left out, a longer one is cut
VOICE_SECONDS = 4.0  # of each speaker, where a class row starts from them
RIDGE = 1e-3  # of the mean square of the pooled values


@torch.no_grad()
def aim(
    network: SpeakerNetwork, features: LogMel, lessons: Lessons, samples: Sequence[np.ndarray], rows: np.ndarray
) -> None:
    """Point the projection to where the teachers' lessons are, by ridge regression on what the network hears.

    ``samples``: the clips, (n,) int16 each; ``rows``: those to fit on, in the order in which they are taken. The axes
    of the lessons are a run's own, so an earlier projection points elsewhere, and learning to turn it would first spoil
    what is below it.
    """
    assert isinstance(network.projection, nn.Linear)  # held by the configuration's own check
    rows = rows[lessons.seconds[rows] >= SHORTEST_SECONDS][:CLIPS]
    length = round(LONGEST_SECONDS * features.audio.sample_rate)
    device = network.projection.weight.device
    was_training = network.training
    network.eval()
    heard = [
        network.pool(network.maps(features(torch.from_numpy(samples[row][:length])[None].to(device))))[0]
        for row in rows
    ]
    network.train(was_training)
    pooled = torch.stack(heard).cpu().double().numpy()
    fitted = Ridge(alpha=RIDGE * np.square(pooled).sum() / pooled.shape[1]).fit(pooled, lessons.clips[0, rows])
    network.projection.weight.copy_(torch.from_numpy(fitted.coef_))
    network.projection.bias.copy_(torch.from_numpy(fitted.intercept_))


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
