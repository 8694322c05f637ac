"""What scoring workers answer. Worker-side only."""

import base64
from typing import Any

from mltraining import scorer
from mltraining.worker_calls import scoring_task


@scoring_task("mltraining.ping")
def ping(payload: dict[str, Any]) -> dict[str, Any]:
    """``{} -> {models: [versions in memory]}``; answers before any model is loaded."""
    return {"models": scorer.loaded_versions()}


@scoring_task("mltraining.analyse_audio")
def analyse_audio(payload: dict[str, Any]) -> dict[str, Any]:
    """``{audio: base64} -> {quality, embedding: base64 of float32 | null, model: {version, fingerprint} | null}``."""
    model = scorer.active_model()
    analysis = scorer.analyse(base64.b64decode(payload["audio"]), model)
    return {
        "quality": analysis.report(),
        "embedding": None if analysis.embedding is None else base64.b64encode(analysis.embedding.tobytes()).decode(),
        "model": None if model is None else {"version": model.version, "fingerprint": model.fingerprint},
    }
