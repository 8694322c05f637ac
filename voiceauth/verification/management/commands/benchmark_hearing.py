"""``manage.py benchmark_hearing``: how calls are decided where more than the caller is in the recording.

The test clips of a speech folder become calls: as they are, after a ringing tone, music or another voice, with hum, in
turns with silence as a leg of a two-channel recording has them, and with a second person for half of the speech. Each
is judged by the code and the default limits that judge real calls, for the speaker and for strangers.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError

from mltraining import recordings
from mltraining.messages import Nearest
from mltraining.recordings import Analysis, Voice
from mltraining.scorer import LoadedModel
from voiceauth.policies import document
from voiceauth.verification import policy
from voiceauth.verification.messages import OneVoice
from voiceauth.verification.models import Decision
from voiceauth.verification.voices import hear

RATE = 8000  # Hz
PAUSE = RATE // 20  # samples
LEVEL = 0.08  # root mean square of speech and music
ANNOUNCED_SECONDS, MUSIC_SECONDS, TURN_SECONDS = 5, 10, 2

Call = Callable[[np.ndarray, np.ndarray], np.ndarray]  # the caller's speech and another person's, (n,) each


class Command(BaseCommand):
    help = (
        "Show how often a model accepts speakers and strangers where music, tones, hum or other voices are in the "
        "recording. Run it after a new encoder or calibration; a limit is chosen from its table."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--pipeline", type=Path, required=True, help="the pipeline folder")
        parser.add_argument("--speech", type=Path, required=True, help="speech folder, see docs/speech-format.md")
        parser.add_argument("--calls", type=int, default=1, help="of each speaker")
        parser.add_argument("--strangers", type=int, default=10, help="voiceprints of others that each call claims")
        parser.add_argument("--min-one-voice-llr", type=float, help="instead of the policy's")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command."""
        from mltraining.speech.audio.errors import AudioError
        from mltraining.speech.evaluation import conditions
        from mltraining.speech.evaluation.trials import EvaluationError
        from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline

        try:
            pipeline = ScoringPipeline.load(options["pipeline"])
            audio, _ = conditions.load_speech_folder(options["speech"])
            prints = conditions.enroll(pipeline, audio, lambda done: None)
        except (EvaluationError, PipelineError, AudioError, OSError) as error:
            raise CommandError(str(error)) from error
        limits = document.read({}, 0).verification
        least = options["min_one_voice_llr"]
        rules = OneVoice(
            min_llr=limits.min_one_voice_llr if least is None else least, min_speech_seconds=limits.min_speech_seconds
        )
        threshold = pipeline.calibration.threshold_at(limits.target_far) or pipeline.threshold
        model = LoadedModel("", "", pipeline, calibration=None)  # type: ignore[arg-type]
        random = np.random.default_rng(0)
        trials = []
        for owner in range(len(audio.speakers)):
            own = np.flatnonzero(audio.owner == owner)
            others = np.setdiff1d(np.arange(len(audio.speakers)), [owner])
            for clip in random.permutation(own)[: options["calls"]]:
                second = int(random.choice(np.flatnonzero(audio.owner != owner)))
                strangers = random.permutation(others[others != audio.owner[second]])[: options["strangers"]]
                trials.append((owner, audio.clips[clip].samples, audio.clips[second].samples, strangers))
        self.stdout.write("| call | the speaker accepted | INCONCLUSIVE | strangers accepted | more than one said |")
        self.stdout.write("| --- | ---: | ---: | ---: | ---: |")
        for name, make in CALLS.items():
            own_verdicts: list[policy.Verdict] = []
            strange: list[policy.Verdict] = []
            for owner, said, other, claims in trials:
                voice = _voice(model, make(_level(said), _level(other)))
                for number in (owner, *claims):
                    known = prints[number]

                    def compare(each: Voice, _: str | None, known: Any = known) -> list[Nearest]:
                        return [each.compare_one("", known.vector, known.speech_seconds)]

                    heard = hear(voice, compare, threshold, rules)
                    verdict = policy.decide_verification(
                        limits,
                        heard.voice.analysis.quality,
                        heard.matches[0].probability,
                        threshold,
                        part_llr=heard.part_llr,
                    )
                    (own_verdicts if number == owner else strange).append(verdict)
            every = [*own_verdicts, *strange]
            self.stdout.write(
                f"| {name} | {_share(own_verdicts, Decision.Result.ACCEPT)} "
                f"| {_share(own_verdicts, Decision.Result.INCONCLUSIVE)} | {_share(strange, Decision.Result.ACCEPT)} "
                f"| {100 * np.mean([policy.MORE_THAN_ONE_SPEAKER in each.reasons for each in every]):.1f} % |"
            )
            self.stdout.flush()


def _voice(model: LoadedModel, samples: np.ndarray) -> Voice:
    from mltraining.speech.audio import quality
    from mltraining.speech.audio.waveform import Waveform

    waveform = Waveform(np.clip(samples, -1, 1).astype(np.float32), RATE)
    return recordings.voice_of(Analysis(waveform, quality.measure(waveform)), model)


def _share(verdicts: list[policy.Verdict], result: Decision.Result) -> str:
    return f"{100 * np.mean([each.result == result for each in verdicts]):.1f} %"


def _level(samples: np.ndarray) -> np.ndarray:
    return samples * (LEVEL / max(float(np.sqrt(np.mean(samples**2))), 1e-9))


def _tones(hertz: tuple[float, ...], seconds: float) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    return np.sum([0.1 * np.sin(2 * np.pi * each * at) for each in hertz], axis=0)


def _silence(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE))


def _music() -> np.ndarray:
    """Plucked triads over a bass."""
    at = np.arange(RATE // 2) / RATE
    chords = [
        sum(np.sin(2 * np.pi * root * step * over * at) / over for step in (0.5, 1, 1.26, 1.5) for over in (1, 2, 3))
        * np.exp(-2.5 * at)
        for root in islice(cycle((262.0, 330.0, 440.0, 392.0, 294.0)), 2 * MUSIC_SECONDS)
    ]
    return _level(np.concatenate(chords))


def _hum(samples: np.ndarray) -> np.ndarray:
    at = np.arange(len(samples)) / RATE
    return np.sum([0.05 / over * np.sin(2 * np.pi * 50 * over * at) for over in (1, 2)], axis=0)


def _turns(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Turns of the caller, and the other's turns as the caller's leg has them: nearly silent.

    A turn ends where the caller is quietest, because nobody stops within a word.
    """
    power = np.convolve(samples**2, np.ones(PAUSE), "same")
    ends = [
        near + int(np.argmin(power[near : near + RATE]))
        for near in range(TURN_SECONDS * RATE - RATE // 2, len(samples) - RATE, TURN_SECONDS * RATE)
    ]
    for start, end in pairwise([0, *ends, len(samples)]):
        yield _silence(TURN_SECONDS)
        yield samples[start:end]


def _half(samples: np.ndarray, *, last: bool) -> np.ndarray:
    middle = len(samples) // 2
    return samples[middle:] if last else samples[:middle]


CALLS: dict[str, Call] = {
    "nothing before it": lambda caller, other: caller,
    "a ringing tone before it": lambda caller, other: np.concatenate(
        [_tones((440, 480), 2), _silence(4), _tones((440, 480), 2), _silence(0.5), caller]
    ),
    f"{MUSIC_SECONDS} s of music before it": lambda caller, other: np.concatenate([_music(), _silence(0.3), caller]),
    f"{ANNOUNCED_SECONDS} s of another voice before it": lambda caller, other: np.concatenate(
        [np.resize(other, ANNOUNCED_SECONDS * RATE), _silence(0.3), caller]
    ),
    "hum at 50 and 100 Hz": lambda caller, other: caller + _hum(caller),
    "the caller's leg of two channels": lambda caller, other: np.concatenate(list(_turns(caller))),
    "a second person for the second half": lambda caller, other: np.concatenate(
        [_half(caller, last=False), _silence(0.3), _half(other, last=True)]
    ),
    "a second person goes on as long": lambda caller, other: np.concatenate(
        [caller, _silence(0.3), np.resize(other, len(caller))]
    ),
}
