"""How long each stage of scoring a clip takes, on one thread."""

import dataclasses
from pathlib import Path

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.scoring.encoder import Runtime
from mltraining.speech.scoring.imported import ImportedEncoder
from mltraining.speech.scoring.onnx_runtime import FILES
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.timing import REPEATS, clip, milliseconds


def runtimes(folder: Path) -> dict[Runtime, ScoringPipeline]:
    """Load the pipeline under torch and under each of its exports, an imported encoder as it is.

    Call it within ``one_thread``.
    """
    if isinstance((loaded := ScoringPipeline.load(folder)).encoder, ImportedEncoder):
        return {"fp32": loaded}
    names: list[Runtime] = ["torch", *(name for name, file in FILES.items() if (folder / file).exists())]
    return {name: ScoringPipeline.load(folder, runtime=name) for name in names}


def stages(loaded: dict[Runtime, ScoringPipeline], seconds: float, repeats: int = REPEATS) -> dict[str, float]:
    """Return the milliseconds of each stage on a clip of so many seconds: decode, VAD, and the encoder by runtime.

    The encoder goes from samples to the embedding, front end included; of an imported one the features stand apart.
    Our own network takes the clip in one piece here, even where scoring would cut it into chunks.
    """
    data = clip(seconds)
    waveform = decode(data)
    found = {
        "decode": milliseconds(lambda: decode(data), repeats),
        # a copy, because a waveform keeps the speech that was detected in it
        "VAD": milliseconds(lambda: quality.measure(dataclasses.replace(waveform)), repeats),
    }
    if isinstance(imported := next(iter(loaded.values())).encoder, ImportedEncoder):
        heard = imported.samples(waveform)
        units = imported.units(heard)
        found["features"] = milliseconds(lambda: imported.units(heard), repeats)
        return found | {"fp32": milliseconds(lambda: imported.vectors(units), repeats)}
    samples = loaded["torch"].own.samples(waveform)
    for name, one in loaded.items():
        found[name] = milliseconds(lambda one=one: one.own.pooled([samples]), repeats)  # type: ignore[misc]
    return found
