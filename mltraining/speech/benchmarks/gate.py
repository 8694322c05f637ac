"""``python -m mltraining.speech benchmark-gate``: whom the enrollment gate's limits would refuse, under a pipeline.

Every speaker's recordings are tried against each other: a recording against the voiceprint of the same speaker's
others (cohesion), and against every other speaker's (duplicates, and somebody else's recording at enrollment); the
speech of one speaker's recordings, and of two speakers' recordings in turn, as one recording (one speaker only).
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltraining.speech.audio import decoding, quality
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.evaluation.trials import (
    EvaluationError,
    add_speech_arguments,
    read_table,
    take_from_speech_folder,
)
from mltraining.speech.scoring import one_voice
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint

COHESION, DUPLICATE = (-5.0, -4.0, -3.0, -2.0, -1.0, 0.0), (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)  # natural-log ratios
SPEECH = ("enrollment", "audio_root")
ONE_VOICE = (-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0)  # natural-log ratios


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording, and what scoring knows of it."""

    waveform: Waveform
    clip: EmbeddedClip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the pipeline or the recordings are refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech benchmark-gate", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True, help="the pipeline folder")
    add_speech_arguments(parser, *SPEECH)
    options = parser.parse_args(arguments)
    try:
        take_from_speech_folder(options, *SPEECH)
        table = read_table(options.enrollment, "speaker", "audio")
        pipeline = ScoringPipeline.load(options.pipeline)
        speakers = [
            [_read(pipeline, options.audio_root / name) for name in names]
            for names in table.groupby("speaker").audio.apply(list)
            if len(names) > 1
        ]
    except (EvaluationError, PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    same, other = _ratios(pipeline, speakers)
    _say(f"{len(speakers)} speakers, {len(same)} recordings of their own, {len(other)} of somebody else's\n")
    _table("min_cohesion_llr", "own refused", same, "another's refused", other, COHESION, below=True)
    _table("duplicate_voice_llr", "own found", same, "another's taken for it", other, DUPLICATE)
    one, two = _one_voice(pipeline, speakers)
    _say(f"{len(one)} recordings of one speaker and {len(two)} of two, with speech enough for two parts\n")
    _table("min_one_voice_llr", "one speaker refused", one, "two speakers refused", two, ONE_VOICE, below=True)
    return 0


def _read(pipeline: ScoringPipeline, path: Path) -> Recording:
    waveform = decoding.decode(path.read_bytes())
    return Recording(waveform, EmbeddedClip(pipeline.embed(waveform), quality.measure(waveform)))


def _ratios(pipeline: ScoringPipeline, speakers: list[list[Recording]]) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of recordings against the own voiceprint, of the others, and against everybody else's."""
    whole = [Voiceprint.of([each.clip for each in recordings]) for recordings in speakers]
    same, other = [], []
    for number, recordings in enumerate(speakers):
        others = [voiceprint for at, voiceprint in enumerate(whole) if at != number]
        for at, recording in enumerate(recordings):
            rest = Voiceprint.of([each.clip for place, each in enumerate(recordings) if place != at])
            vectors = np.stack([each.vector for each in (rest, *others)])
            seconds = np.array([each.speech_seconds for each in (rest, *others)])
            found = pipeline.compare(recording.clip.embedding, recording.clip.quality, vectors, seconds)
            same.append(found.log_likelihood_ratio[:1])
            other.append(found.log_likelihood_ratio[1:])
    return np.concatenate(same), np.concatenate(other)


def _one_voice(pipeline: ScoringPipeline, speakers: list[list[Recording]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each speaker's recordings as one, and of the first two recordings of each speaker and of the next one."""
    mixed = [[*one[:2], *two[:2]] for one, two in itertools.pairwise(speakers)]
    found = []
    for kind in (speakers, mixed):
        parts = [_parts(pipeline, recordings) for recordings in kind]
        found.append(np.array([each.log_likelihood_ratio for each in parts if each is not None]))
    return found[0], found[1]


def _parts(pipeline: ScoringPipeline, recordings: list[Recording]) -> one_voice.Parts | None:
    """The least alike parts of all of them in one."""
    first = recordings[0].waveform
    samples = [resample(each.waveform.samples, each.waveform.sample_rate, first.sample_rate) for each in recordings]
    whole = Waveform(np.concatenate(samples), first.sample_rate, first.container, first.codec, first.channels)
    windows = one_voice.placed_windows(pipeline, whole, None)
    return one_voice.split(pipeline, windows, recordings[0].clip.quality)


def _table(
    name: str,
    genuine: str,
    own: np.ndarray,
    impostor: str,
    others: np.ndarray,
    limits: Sequence[float],
    *,
    below: bool = False,
) -> None:
    """The share of each kind beyond each limit, in percent."""
    _say(f"| {name} | {genuine} | {impostor} |\n| ---: | ---: | ---: |")
    for limit in limits:
        shares = [100 * float((each < limit if below else each > limit).mean()) for each in (own, others)]
        _say(f"| {limit:g} | {shares[0]:.1f} % | {shares[1]:.2f} % |")
    _say("")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
