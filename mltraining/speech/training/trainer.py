"""Train a speaker network: decode, run the epochs, finish. The way into this package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import top_frequency
from mltraining.speech.training import checkpoints, dataset, finishing, manifest, teachers
from mltraining.speech.training.processes import Processes
from mltraining.speech.training.run import DECODED, Progress, Run, Stopped

Decoded = tuple[manifest.Manifest, dataset.Clips]


def train(
    config: Config,
    output: Path,
    *,
    progress: Progress = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    decoded: Decoded | None = None,
) -> dict[str, Any]:
    """Train, evaluate, calibrate and export into ``output``. A checkpoint of the same run in it is resumed.

    ``decoded`` is what ``decode`` returns for the same speech, where several runs share it.
    Returns the final metrics (see ``finishing``). Every random choice of an epoch follows from the seed and the
    epoch's number, so a resumed run does what an uninterrupted one does. Raises ConfigError, DataError, Stopped.
    """
    processes = Processes.start(config)
    try:
        run = _prepare(config, output, processes, progress, should_stop, decoded)
        run.fit()
        if not processes.first:
            return {}
        return finishing.finish(
            run.config, run.manifest, run.clips, run.best_network(), output, run.history, progress, run.check_stop
        )
    finally:
        processes.end()


def decode(
    config: Config,
    *,
    seed: int,
    progress: Progress = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Decoded:
    """Read the clips of a run, and how they are divided. Raises ConfigError, DataError, Stopped."""
    split = manifest.read(config, seed=seed)

    def decoded(count: int) -> None:
        progress({"event": "step", "phase": "decoding", "percent": DECODED * count / len(split.clips)})
        if should_stop():
            raise Stopped

    return dataset.load(
        split,
        config.audio.sample_rate,
        threads=config.environment.number_of_workers,
        skip_unreadable=config.dataset.skip_unreadable,
        speech_only=config.audio.speech_only,
        on_progress=decoded,
    )


def _prepare(
    config: Config,
    output: Path,
    processes: Processes,
    progress: Progress,
    should_stop: Callable[[], bool],
    decoded: Decoded | None,
) -> Run:
    state = checkpoints.load(output / "checkpoints" / "last.pt")
    seed = config.environment.seed
    if seed == -1:
        seed = state["config"]["environment"]["seed"] if state else processes.draw_seed()
    progress({"event": "phase", "phase": "decoding", "percent": 0.0})
    split, clips = decoded or decode(config, seed=seed, progress=progress, should_stop=should_stop)
    resolved = config.with_values(
        audio={"maximum_frequency": top_frequency(config.audio, clips.source_rate)}, environment={"seed": seed}
    )
    if state:
        checkpoints.check_same_run(state, resolved, clips.data_hash)
    if processes.first:
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(yaml.safe_dump(resolved.to_dict(), sort_keys=False), encoding="utf-8")
    lessons = None
    if config.training.teachers:
        lessons = teachers.lessons(resolved, split, clips, lambda share: _heard(share, progress, should_stop))
    run = Run(
        resolved, split, clips, output, processes, progress, should_stop, pretrained=state is None, lessons=lessons
    )
    if state:
        run.restore(state)
    return run


def _heard(share: float, progress: Progress, should_stop: Callable[[], bool]) -> None:
    """Report how much of the speech the teachers have heard."""
    progress({"event": "step", "phase": "teaching", "percent": DECODED * share})
    if should_stop():
        raise Stopped
