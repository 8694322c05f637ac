"""What the demo changes in the recipe of the retrain, so that a CPU does it from scratch in minutes.

Dotted keys of the training configuration; see docs/training-configuration.md for each.
"""

from typing import Any

# Two cores, 50 speakers, about 820 clips of 2 to 12 seconds.
SPEECH: dict[str, Any] = {
    "architecture.pretrained": False,  # no hub within reach, no weights at hand
    "audio.training_chunk_seconds": 3,
    "prediction.inference_chunk_seconds": 3,
    "prediction.max_inference_chunk_seconds": 60,
    "training.loss_function": "CosineBCE",
    "training.epochs": 18,
    "training.batch_size": 16,  # more steps an epoch: 765 clips are few
    "environment.mixed_precision_training": True,
}

# Ten synthetic voices, six recordings each: a smaller backbone, and small batches, so that an epoch has some steps.
SYNTHETIC: dict[str, Any] = SPEECH | {
    "architecture.backbone": "resnet18",
    "training.batch_size": 8,
    "training.run_interpretations": False,
}
