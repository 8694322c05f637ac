"""What teachers say of the training clips: the embedding that the network is to find, however the voice arrives.

A teacher is an imported encoder that has heard many more speakers than the training clips hold. It embeds each clip as
recorded, clean and wide-band, at every speed that training uses. The network hears crops of it through rooms, noise and
telephones, and learns to predict what the teachers said (Hinton et al., "Distilling the knowledge in a neural network",
2015) and how much alike they found the clips of a batch (Park et al., "Relational knowledge distillation", 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHORTEST_CLIP = 1.2  # seconds; of less, a teacher's embedding tells more of the words than of the voice


@dataclass(frozen=True, eq=False)
class Lessons:
    """Targets of unit length: of each clip (versions, clips, d) and of each speaker (versions, speakers, d), float32.

    Version 0 is the clips' own speed, the others follow ``augmentation.speeds``. ``seconds`` (clips,) of speech.
    """

    clips: np.ndarray
    speakers: np.ndarray
    seconds: np.ndarray

    def target(self, parts: Sequence[tuple[int, int]], speaker: int, version: int, speaker_share: float) -> np.ndarray:
        """Return the target (d,) of a crop made of ``parts``: (clip, samples) each.

        ``speaker_share`` of it is the speaker's, the rest the clips', weighted by length. Clips under 1.2 s do not
        count; where there are no others, all of it is the speaker's.
        """
        own = np.zeros(self.clips.shape[2], dtype=np.float32)
        for clip, samples in parts:
            if self.seconds[clip] >= SHORTEST_CLIP:
                own += samples * self.clips[version, clip]
        length = float(np.linalg.norm(own))
        of_speaker = self.speakers[version, speaker]
        if not length:
            return of_speaker
        return unit(speaker_share * of_speaker + (1 - speaker_share) * own / length)


def joined(teachers: Sequence[np.ndarray]) -> np.ndarray:
    """Join what several teachers say: (..., d_i) each, centred -> (..., sum of d_i), of unit length.

    Each teacher's embeddings are made unit length first, so that the cosine of two joined vectors is the mean of the
    teachers' cosines.
    """
    return np.concatenate([unit(each) for each in teachers], axis=-1) / np.float32(np.sqrt(len(teachers)))


def prediction_loss(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine: embeddings (batch, d), targets (batch, d) of unit length -> scalar."""
    return (1 - torch.cosine_similarity(embeddings.float(), targets, dim=1)).mean()


def relation_loss(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Mean square difference of the cosines between the crops of a batch, theirs and the targets': -> scalar."""
    own = torch.nn.functional.normalize(embeddings.float(), dim=1)
    others = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    return (own @ own.T - targets @ targets.T)[others].square().mean()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length along the last axis; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
