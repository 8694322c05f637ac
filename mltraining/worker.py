"""What scoring workers answer about themselves. Worker-side only."""

from mltraining import scorer
from mltraining.messages import PING, Ping, Pong
from mltraining.worker_server import answers


@answers(PING)
def ping(question: Ping) -> Pong:
    """Name the models in memory. It answers before any model is loaded."""
    return Pong(models=tuple(scorer.loaded_versions()))
