"""``python -m mltraining.speech benchmark-replay``: what replay recognition catches, mistakes and costs.

Recordings are remembered, and heard again through attacks; others are heard that never were.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.audio import decoding, noise, replay, telephone
from mltraining.speech.audio.waveform import resample
from mltraining.speech.evaluation.trials import (
    EvaluationError,
    add_speech_arguments,
    read_table,
    take_from_speech_folder,
)

SHORT_SECONDS = 1.2
TRIM_SECONDS = 0.2
SNR_DB = 15.0
SPREAD = 2  # bins and frames
LOOKUPS = 300

Attack = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _trim(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """200 ms off one end; off the beginning with a shift that no hop divides."""
    cut = round(TRIM_SECONDS * replay.RATE)
    return samples[cut + int(random.integers(replay.HOP)) :] if random.random() < 0.5 else samples[:-cut]


def _gain(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.clip(samples * 10 ** (random.uniform(-15, 10) / 20), -1, 1)


def _noise(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return noise.add(samples, random.standard_normal(len(samples)).astype(np.float32), SNR_DB, random)


def _telephone(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return telephone.transmit(samples, "mulaw", random=random)


ATTACKS: dict[str, Attack] = {
    "G.711": _telephone,
    "gain −15 to +10 dB": _gain,
    "200 ms cut off": _trim,
    "noise at 15 dB": _noise,
    "cut off, G.711": lambda samples, random: _telephone(_trim(samples, random), random),
    "gain, cut off, noise, G.711": lambda samples, random: _telephone(
        _noise(_trim(_gain(samples, random), random), random), random
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the table of clips is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech benchmark-replay", description=__doc__)
    add_speech_arguments(parser, "audio_root")
    parser.add_argument("--clips", type=Path, help="table with columns audio, speaker, text")
    parser.add_argument("--remembered", type=int, default=1500, help="recordings to remember")
    parser.add_argument("--heard", type=int, default=400, help="of them heard again, and as many that never were")
    parser.add_argument("--fingerprints", type=int, default=1_000_000, help="made-up ones to look up among; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        take_from_speech_folder(options, "audio_root", "clips")
        if options.clips is None:
            raise EvaluationError("missing_option", "give --clips, or --speech with a folder that has clips.parquet")
        table = read_table(options.clips, "audio", "speaker", "text")
    except EvaluationError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 2
    random = np.random.default_rng(options.seed)
    order = random.permutation(len(table))
    known, strangers = order[: options.remembered], order[options.remembered :][: options.heard]
    recordings = [_read(options.audio_root / table.audio[row]) for row in known]
    index = replay.ReplayIndex()
    index.add_many((number, replay.acoustic_fingerprint(each)) for number, each in enumerate(recordings))

    _say("| attack | caught | of those under 1.2 s | longer |\n| --- | ---: | ---: | ---: |")
    asked = np.arange(min(options.heard, len(recordings)))
    short = np.array([len(recordings[number]) < SHORT_SECONDS * replay.RATE for number in asked])
    for name, attack in ATTACKS.items():
        found = [index.find(replay.views(attack(recordings[number], random).astype(np.float32))) for number in asked]
        caught = np.array([each is not None and each.key == number for each, number in zip(found, asked, strict=True)])
        _say(f"| {name} | {_share(caught)} | {_share(caught[short])} | {_share(caught[~short])} |")

    others = [replay.views(_read(options.audio_root / table.audio[row])) for row in strangers]
    mistaken, pairs = sum(index.find(each) is not None for each in others), len(others) * len(recordings)
    _say(f"\nother recordings taken for a replay: {mistaken} of {pairs:,} comparisons ({mistaken / pairs:.1e})")
    wrong, repeated = _same_words(table, options.audio_root, options.heard, random)
    _say(f"the same speaker says the same words again: {wrong} of {repeated:,} comparisons taken for a replay")
    if options.fingerprints:
        _time(recordings, options.fingerprints, random)
    return 0


def _same_words(table: pd.DataFrame, root: Path, limit: int, random: np.random.Generator) -> tuple[int, int]:
    """Pairs of recordings of one speaker and text: how many count as a replay, of how many."""
    groups = [list(rows) for _, rows in table.groupby(["speaker", "text"]).groups.items() if len(rows) > 1]
    wrong = 0
    chosen = [groups[number] for number in random.permutation(len(groups))[:limit]]
    for first, second, *_ in chosen:
        index = replay.ReplayIndex()
        index.add_many([(0, replay.acoustic_fingerprint(_read(root / table.audio[first])))])
        wrong += index.find(replay.views(_read(root / table.audio[second]))) is not None
    return wrong, len(chosen)


def _time(recordings: Sequence[np.ndarray], count: int, random: np.random.Generator) -> None:
    """Lookups of the recordings, heard again through G.711, among ``count`` fingerprints of which they are a few.

    The others are made up: pairs of the recordings with each peak moved by up to ``SPREAD`` bins and frames, for 1,500
    recordings have not every pair that a million have.
    """
    real = [np.frombuffer(replay.acoustic_fingerprint(each), dtype=replay.PAIR) for each in recordings]
    pool, mean = np.concatenate(real), round(float(np.mean([len(each) for each in real])))
    started = time.perf_counter()
    made_up = np.empty((count - len(real)) * mean, dtype=replay.POSTING)
    made_up["hash"] = _moved(pool["hash"][random.integers(len(pool), size=len(made_up))], random)
    made_up["frame"] = random.integers(200, size=len(made_up))
    made_up["key"] = np.repeat(np.arange(len(real), count, dtype=np.uint32), mean)
    index = replay.ReplayIndex()
    index.fill(made_up, mean)
    del made_up
    index.add_many((number, each.tobytes()) for number, each in enumerate(real))
    loaded = time.perf_counter() - started
    times, caught = [], 0
    for number, each in enumerate(recordings[:LOOKUPS]):
        asked = replay.views(_telephone(each, random))
        started = time.perf_counter()
        found = index.find(asked)
        times.append(1000 * (time.perf_counter() - started))
        caught += found is not None and found.key == number
    _say(
        f"\nlookup among {count:,} fingerprints of {mean} pairs ({replay.POSTING.itemsize * mean} bytes each), heard "
        f"through G.711: median {np.median(times):.1f} ms, 95th percentile {np.quantile(times, 0.95):.1f} ms, "
        f"{caught} of {len(times)} caught; loaded in {loaded:.0f} s"
    )


def _moved(hashes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    first, second, apart = hashes >> 14, hashes >> 6 & 255, hashes & 63
    moves = [random.integers(-SPREAD, SPREAD + 1, size=len(hashes), dtype=np.int32) for _ in range(3)]
    top = replay.HIGH - replay.LOW - 1
    first = np.clip(first.astype(np.int32) + moves[0], 0, top)
    second = np.clip(second.astype(np.int32) + moves[1], 0, top)
    return first << 14 | second << 6 | np.clip(apart.astype(np.int32) + moves[2], 1, replay.MAX_FRAMES)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read(path: Path) -> np.ndarray:
    heard = decoding.decode(path.read_bytes())
    return resample(heard.samples, heard.sample_rate, replay.RATE)


def _share(caught: np.ndarray) -> str:
    return f"{100 * caught.mean():.1f} % ({caught.sum()}/{len(caught)})" if len(caught) else "—"
