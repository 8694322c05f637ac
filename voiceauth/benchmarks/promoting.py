"""How many customers an hour are embedded again when a model is promoted."""

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from voiceauth.benchmarks.service import Service, ServiceFailed
from voiceauth.client import Client

PATIENCE_SECONDS = 3600.0
STEP_SECONDS = 0.2  # between looks at whether it has ended


@dataclass(frozen=True)
class Promoted:
    """Seconds by the clock until the other model was in service, and seconds of processor time of all processes."""

    seconds: float
    processor_seconds: float


def promoted(service: Service) -> Promoted:
    """Promote the model that ships once more, under another fingerprint. Raises ``ServiceFailed``."""
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder, "model")
        _copy(again)
        imported = service.command("import_model", str(again))
    version = imported.stdout.strip()
    if imported.returncode or not version:
        raise ServiceFailed(f"The model was not imported:\n{imported.stderr}")
    with Client(service.url, service.token["admin"]) as admin:
        before, begun = service.usage(), time.monotonic()
        admin.post(f"/models/{version}/promote")
        while (model := admin.get(f"/models/{version}"))["state"] != "ACTIVE":
            if model["state"] != "PROMOTING" or time.monotonic() - begun > PATIENCE_SECONDS:
                raise ServiceFailed(f"The promotion did not succeed: {model}")
            time.sleep(STEP_SECONDS)
        return Promoted(time.monotonic() - begun, sum(service.usage().since(before).values()))


def _copy(folder: Path) -> None:
    """Copy the model that ships; a note in the file of the weights makes another fingerprint of the same weights."""
    from safetensors.numpy import load_file, save_file

    from mltraining.speech.config import Config
    from mltraining.speech.scoring.encoder import fingerprint_of
    from mltraining.speech.scoring.folder import DESCRIPTION, ENCODER, amend

    shutil.copytree(Path(settings.BASE_DIR, "mltraining", "base_model"), folder)
    save_file(load_file(folder / ENCODER), folder / ENCODER, metadata={"note": "a benchmark's"})
    config = Config.from_dict(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["config"])
    amend(folder, fingerprint=fingerprint_of(folder / ENCODER, config))
