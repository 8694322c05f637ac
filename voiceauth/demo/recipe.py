"""What the demo changes in the training recipe, so that a CPU trains from scratch in minutes.

The keys are those of docs/training-configuration.md.
"""

from typing import Any

# Two cores, 50 speakers, about 820 clips of 2 to 12 seconds.
SPEECH: dict[str, Any] = {
    "architecture.pretrained": False,  # the demo downloads no weights
    "audio.training_chunk_seconds": 3,
    "prediction.inference_chunk_seconds": 3,
    "prediction.max_inference_chunk_seconds": 60,
    "training.loss_function": "CosineBCE",
    "training.epochs": 18,
    "training.batch_size": 16,  # 765 clips are few: smaller batches make more steps an epoch
    "environment.mixed_precision_training": True,
}

# Ten synthetic voices, six recordings each: a smaller backbone, and small batches, so that an epoch has some steps.
SYNTHETIC: dict[str, Any] = SPEECH | {
    "architecture.backbone": "resnet18",
    "training.batch_size": 8,
    "training.run_interpretations": False,
}
