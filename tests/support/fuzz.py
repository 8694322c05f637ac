"""Mutated recordings against what a scoring worker does with an upload: decode, measure, fingerprint.

    .venv/bin/python -m tests.support.fuzz --examples 20000 --seed 1 --keep DIR

It prints what the answers were, whatever must not happen, and the memory before and after. It ends with 1 if anything
must not happen. ``tests/mltraining/test_fuzz.py`` runs a fixed number of examples.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.support.audio import FORMATS, HEADERLESS, encode, voice, wav

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

SECONDS = 1.0  # of each seed: what mutations break lies in its first kilobytes
DEADLINE, SLACK = 2.0, 1.5  # seconds that a caller waits, and that an answer may take beyond
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
CHANNELS = ("", "", "", "left", "right", "mono", "0", "7")


@dataclass(frozen=True)
class Example:
    """One upload: its bytes, where they come from, and the parameters beside them."""

    seed: str
    audio: bytes
    format: str
    channel: str
    default_channel: str
    redact: tuple[tuple[float, float], ...]


@dataclass
class Findings:
    """How often each answer was given, the slowest one, and what must not happen."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    crashes: list[Example] = field(default_factory=list)  # of the decoder; the worker goes on
    defects: list[str] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0


def seeds() -> dict[str, bytes]:
    """One short recording in every format that is read, in one channel and in two."""
    one, other = voice(1, seconds=SECONDS), voice(2, seconds=SECONDS)
    found = {name: encode(one, name) for name in FORMATS}
    stereo = [name for name in FORMATS if name not in HEADERLESS and name not in ("amr_nb", "wav_g723_1")]
    found |= {f"{name}, two voices": encode(np.stack([one, other]), name) for name in stereo}
    found["wav, eight channels"] = wav(np.stack([one] * 8))
    return found


def mutated(data: bytes, random: np.random.Generator, others: list[bytes]) -> bytes:
    """Damage a file as lines, disks and attackers do: one to eight changes, most of them in its first bytes."""
    content = bytearray(data)
    for _ in range(random.integers(1, 9)):
        if not content:
            break
        reach = len(content) if random.random() < 0.4 else min(len(content), 400)
        at = int(random.integers(reach))
        match random.integers(9):
            case 0 | 1:
                content[at] = int(random.integers(256))
            case 2:
                content[at] ^= 1 << int(random.integers(8))
            case 3 | 4:
                width, big = int(random.choice([1, 2, 4, 8])), bool(random.integers(2))
                value = int(random.choice(EXTREMES)) if random.random() < 0.7 else len(content)
                content[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "big" if big else "little")
            case 5:
                del content[at : at + int(random.integers(1, 200))]
            case 6:
                content[at:at] = random.bytes(int(random.integers(1, 200)))
            case 7:
                part = others[random.integers(len(others))]
                start = int(random.integers(len(part)))
                content[at:at] = part[start : start + int(random.integers(1, 4000))]
            case 8:
                content = content[: max(1, at if reach == len(content) else len(content) - at)]
    if random.random() < 0.1:
        content += random.bytes(int(random.integers(1, 5000)))
    return bytes(content)


def examples(count: int, seed: int) -> Iterator[Example]:
    """Yield ``count`` examples, always the same for one seed."""
    random, known = np.random.default_rng(seed), seeds()
    names, files = list(known), list(known.values())
    for _ in range(count):
        name = names[random.integers(len(names))]
        own = name if name in HEADERLESS else ""
        stretches = np.sort(random.uniform(0, 1.5, (random.integers(3), 2)), axis=1)
        yield Example(
            seed=name,
            audio=mutated(known[name], random, files),
            format=own if random.random() < 0.8 else str(random.choice(["", *HEADERLESS, "gsm"])),
            channel=str(random.choice(CHANNELS)),
            default_channel=str(random.choice(CHANNELS)),
            redact=tuple((float(start), float(end)) for start, end in stretches),
        )


def run(count: int, seed: int, *, deadline: float = DEADLINE, report_every: int = 0) -> Findings:
    """Give ``count`` examples to the code of a scoring worker, whose callers wait ``deadline`` seconds."""
    _answer(Example("", wav(voice(1, seconds=SECONDS)), "", "", "", ()), 60.0)  # loads whatever is loaded late
    findings, process = Findings(), psutil.Process()
    warm = max(20, count // 20)  # until then memory may grow: models and caches are loaded
    for number, example in enumerate(examples(count, seed)):
        if number == warm:
            findings.bytes_before = _memory(process)
        begun = time.monotonic()
        answer = _answer(example, deadline)
        seconds = time.monotonic() - begun
        findings.answers[answer] += 1
        findings.slowest = max(findings.slowest, (seconds, f"{number}: {example.seed}, {answer}"))
        if answer == "undecodable_audio":
            findings.crashes.append(example)
        if seconds > deadline + SLACK or answer.startswith("5xx"):
            findings.defects.append(f"{number}: {example.seed}, {answer} after {seconds:.1f} s")
        if report_every and (number + 1) % report_every == 0:
            print(f"{number + 1}: {dict(findings.answers)}, slowest {findings.slowest}", flush=True)
    findings.bytes_after = _memory(process)
    return findings


def _answer(example: Example, deadline: float) -> str:
    """The error code, ``read``, ``abandoned``, or ``5xx`` and the exception that the worker would have died of."""
    from mltraining import deadlines, recordings
    from mltraining.messages import Recording
    from voiceauth.platform.errors import DomainError

    recording = Recording(
        audio=example.audio, format=example.format, channel=example.channel,
        default_channel=example.default_channel, redact=example.redact,
    )  # fmt: skip
    try:
        with deadlines.caller_waits(deadline, lambda more: None):
            analysis = recordings.analyse(recording)
            report = analysis.report()
            analysis.remainder()
            analysis.acoustic_fingerprint()
            figures = [value for value in report.as_dict().values() if isinstance(value, float)]
            if not np.isfinite(analysis.waveform.samples).all() or not np.isfinite(figures).all():
                return "5xx: samples or figures that are not finite"
    except deadlines.CallAbandoned:
        return "abandoned"
    except DomainError as error:
        return error.code if 400 <= error.status < 500 else f"5xx: {error.code}"
    except Exception as error:
        return f"5xx: {type(error).__name__}: {error}"
    return "read"


def _memory(process: psutil.Process) -> int:
    """The private memory of the process and of the one that decodes for it."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the files that crash the decoder")
    options = parser.parse_args()
    import django

    django.setup()
    findings = run(options.examples, options.seed, report_every=500)
    print(f"answers: {dict(findings.answers.most_common())}")
    print(f"slowest: {findings.slowest[0]:.2f} s ({findings.slowest[1]})")
    print(f"memory: {findings.bytes_before / 1e6:.0f} MB before, {findings.bytes_after / 1e6:.0f} MB after")
    print(f"the decoder crashed on {len(findings.crashes)} files")
    for number, example in enumerate(findings.crashes if options.keep else []):
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"crash-{number}.bin").write_bytes(example.audio)
    print("\n".join(["must not happen:", *findings.defects]) if findings.defects else "nothing that must not happen")
    return 1 if findings.defects else 0


if __name__ == "__main__":
    sys.exit(main())
