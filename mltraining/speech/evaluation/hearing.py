"""The trials of an evaluation, and the conditions that their test audio is heard in.

Voiceprints are always enrolled from the recordings as they are, at 8 kHz; the test audio is cut, drowned in noise and
sent through a telephone channel, in that order.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.audio import noise, quality, telephone
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.scoring import scores as scoring
from mltraining.speech.scoring.pipeline import ScoringPipeline

ADULT_AGE = 18  # years
Progress = Callable[[int, int], None]  # done, total


def silent(done: int, total: int) -> None:
    pass


class EvaluationError(ValueError):
    """The trials cannot be evaluated. ``code`` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Condition:
    """How the test audio is heard: cut to ``seconds`` of net speech, with noise, through ``codec``."""

    name: str
    label: str
    codec: telephone.Codec | None = None
    seconds: float | None = None
    snr_db: float | None = None

    @property
    def calibrates(self) -> bool:
        """Whether its trials are fitted on: the plain channels and the durations, not what is held out as strange."""
        return self.codec in (None, "mulaw") and self.snr_db is None


RECORDED, G711 = Condition("recorded", "as recorded, 8 kHz"), Condition("g711", "G.711", codec="mulaw")
CONDITIONS = (
    RECORDED,
    G711,
    Condition("gsm", "GSM (AMR-NB 12.2 kbit/s)", codec="gsm"),  # no encoder of GSM 06.10 in PyAV
    Condition("opus", "Opus 12 kbit/s", codec="opus"),
    *(Condition(f"recorded-{seconds}s", f"{seconds} s of speech", seconds=seconds) for seconds in (1, 2, 3, 5)),
    Condition("g711-2s", "2 s of speech, G.711", codec="mulaw", seconds=2),
    *(Condition(f"g711-{snr}db", f"{snr} dB SNR, G.711", codec="mulaw", snr_db=snr) for snr in (20, 10, 5)),
)


@dataclass(frozen=True, eq=False)
class TrialSet:
    """Audio at 8 kHz and who says what. ``owner`` (clips,) and ``claimed`` (trials,) index ``speakers``.

    ``groups``: (speakers,) bool each; whose age is not known is neither adult nor child.
    """

    speakers: list[str]
    enrollment: list[list[Waveform]]
    clips: list[Waveform]
    owner: np.ndarray
    clip: np.ndarray  # (trials,)
    claimed: np.ndarray
    groups: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Heard:
    """The test clips in one condition. ``clips`` (n,) index the set's: a clip too short for the condition is not here.

    ``scores`` (n, speakers). ``trials`` (t,) index the set's trials whose clip is here, ``row`` (t,) that clip's row.
    """

    condition: Condition
    clips: np.ndarray
    scores: np.ndarray
    qualities: list[Quality]
    trials: np.ndarray
    row: np.ndarray
    enrolled_seconds: np.ndarray  # of net speech behind each voiceprint, (speakers,)

    def measures(self, data: TrialSet) -> np.ndarray:
        """Of every trial, in the order of ``scoring.Conditions``: (3, t)."""
        own = np.array([(each.speech_seconds, each.snr_db) for each in self.qualities]).reshape(-1, 2)[self.row]
        return np.stack([own[:, 0], self.enrolled_seconds[data.claimed[self.trials]], own[:, 1]])


def load(
    enrollment: Path, trials: Path, audio_root: Path, clips: Path | None = None, *, progress: Progress = silent
) -> TrialSet:
    """Read tables (enrollment: speaker, audio; trials: speaker, audio, target) and decode all audio to 8 kHz.

    ``clips``: a table with speaker, gender and age, for the groups. Raises EvaluationError: unreadable_table,
    missing_column, clip_without_target, unknown_speaker, missing_audio, and the audio's own codes.
    """
    enrolled, tried = _table(enrollment, ["speaker", "audio"]), _table(trials, ["speaker", "audio", "target"])
    speakers = list(dict.fromkeys(enrolled["speaker"]))
    place = {speaker: number for number, speaker in enumerate(speakers)}
    if strange := sorted(set(tried["speaker"]) - set(place)):
        raise EvaluationError("unknown_speaker", f"{trials.name}: {strange[0]} is not enrolled")
    genuine = tried[tried["target"] == "1"].drop_duplicates("audio").set_index("audio")["speaker"]
    names = list(dict.fromkeys(tried["audio"]))
    if ownerless := [name for name in names if name not in genuine.index]:
        raise EvaluationError("clip_without_target", f"{trials.name}: no target trial says whose {ownerless[0]} is")
    row = {name: number for number, name in enumerate(names)}
    decoded = {}
    wanted = list(dict.fromkeys([*enrolled["audio"], *names]))
    for number, name in enumerate(wanted, start=1):
        decoded[name] = _decoded(audio_root / name)
        progress(number, len(wanted))
    return TrialSet(
        speakers=speakers,
        enrollment=[
            [decoded[name] for name in enrolled["audio"][enrolled["speaker"] == speaker]] for speaker in speakers
        ],
        clips=[decoded[name] for name in names],
        owner=np.array([place[genuine[name]] for name in names]),
        clip=tried["audio"].map(row).to_numpy(),
        claimed=tried["speaker"].map(place).to_numpy(),
        groups={} if clips is None else _groups(_table(clips, ["speaker", "gender", "age"]), speakers),
    )


def hear(
    pipeline: ScoringPipeline,
    data: TrialSet,
    conditions: Sequence[Condition],
    noises: Sequence[np.ndarray] = (),
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Heard]:
    """Score every clip in every condition against every voiceprint.

    ``noises``: (n,) each at 8 kHz, for the conditions with an SNR. A clip meets the same noise whatever other
    conditions are heard. ``progress`` counts speakers that enroll, then clips.
    """
    total = len(data.speakers) + len(conditions) * len(data.clips)
    voiceprints, seconds = _enroll(pipeline, data, lambda done: progress(done, total))
    found = []
    for number, condition in enumerate(conditions):
        clips, scores, qualities = [], [], []
        for index, clip in enumerate(data.clips):
            random = np.random.default_rng([seed, zlib.crc32(condition.name.encode()), index])
            waveform = _transform(clip, condition, noises, random)
            if waveform is not None:
                clips.append(index)
                scores.append(pipeline.score(pipeline.embed(waveform), voiceprints))
                qualities.append(quality.measure(waveform))
            progress(len(data.speakers) + number * len(data.clips) + index + 1, total)
        row = np.full(len(data.clips), -1)
        row[clips] = np.arange(len(clips))
        trials = np.flatnonzero(row[data.clip] >= 0)
        matrix = np.array(scores, dtype=np.float64).reshape(len(clips), len(data.speakers))
        places = np.array(clips, dtype=int)
        found.append(Heard(condition, places, matrix, qualities, trials, row[data.clip[trials]], seconds))
    return found


def chosen_conditions(names: Sequence[str] | None = None, *, noisy: bool) -> list[Condition]:
    """Those of CONDITIONS that are named, or all; with an SNR only where there is noise."""
    return [each for each in CONDITIONS if (names is None or each.name in names) and (noisy or each.snr_db is None)]


def _enroll(
    pipeline: ScoringPipeline, data: TrialSet, on_speaker: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Voiceprints (speakers, dimensions), weighed by net speech, and the seconds of it behind each (speakers,)."""
    voiceprints, seconds = [], []
    for speaker, waveforms in zip(data.speakers, data.enrollment, strict=True):
        speech = np.array([quality.measure(waveform).speech_seconds for waveform in waveforms])
        if not speech.any():
            raise EvaluationError("speaker_without_speech", f"no enrollment clip of {speaker} holds speech")
        voiceprints.append(scoring.mean_voiceprint(np.stack([pipeline.embed(each) for each in waveforms]), speech))
        seconds.append(speech.sum())
        on_speaker(len(seconds))
    return np.stack(voiceprints), np.array(seconds)


def _transform(
    clip: Waveform, condition: Condition, noises: Sequence[np.ndarray], random: np.random.Generator
) -> Waveform | None:
    """None where the clip holds too little speech for the condition."""
    samples = clip.samples
    if condition.seconds is not None:
        end = _end_of_speech(clip, condition.seconds)
        if end is None:
            return None
        samples = samples[:end]
    if condition.snr_db is not None:
        samples = noise.add(samples, noises[int(random.integers(len(noises)))], condition.snr_db, random)
    if condition.codec is not None:
        samples = telephone.transmit(np.clip(samples, -1, 1), condition.codec)
    return clip if samples is clip.samples else Waveform(samples, telephone.RATE)


def _end_of_speech(clip: Waveform, seconds: float) -> int | None:
    """The sample at which so much net speech is over."""
    left = seconds
    for start, end in quality.speech_segments(clip):
        if end - start >= left:
            return round((start + left) * clip.sample_rate)
        left -= end - start
    return None


def _decoded(path: Path) -> Waveform:
    """At 8 kHz, the rate of everything that is evaluated."""
    try:
        waveform = decode(path.read_bytes())
    except AudioError as error:
        raise EvaluationError(error.code, f"{path.name}: {error}") from error
    except OSError as error:
        raise EvaluationError("missing_audio", f"{path.name}: {error.strerror}") from error
    return Waveform(resample(waveform.samples, waveform.sample_rate, telephone.RATE), telephone.RATE)


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        else:
            table = pd.read_parquet(path, columns=columns).astype(str)
    except (OSError, ValueError) as error:
        raise EvaluationError("unreadable_table", f"{path} cannot be read: {error}") from error
    if missing := sorted(set(columns) - set(table.columns)):
        raise EvaluationError("missing_column", f"{path.name} lacks the column {', '.join(missing)}")
    return table


def _groups(clips: pd.DataFrame, speakers: list[str]) -> dict[str, np.ndarray]:
    known = clips.drop_duplicates("speaker").set_index("speaker").reindex(speakers)
    gender, age = known["gender"].str.lower().str[:1], pd.to_numeric(known["age"], errors="coerce")
    groups = {"female": gender == "f", "male": gender == "m", "adult": age >= ADULT_AGE, "child": age < ADULT_AGE}
    return {name: members.to_numpy(dtype=bool) for name, members in groups.items()}
