"""Test conditions: the same test clips as recorded, cut short, with noise, and through telephone channels.

Speakers always enroll with the recordings as they are, at 8 kHz. A test clip is cut, drowned in noise and sent through
a codec, in that order.
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
from mltraining.speech.evaluation.trials import (
    SPEECH_FOLDER,
    EvaluationError,
    Progress,
    ScoredTrials,
    TrialList,
    read_table,
    silent,
)
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.quality_measures import QualityMeasures
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint

ADULT_AGE = 18  # years


@dataclass(frozen=True)
class Condition:
    """How the test clips are altered: cut to ``seconds`` of net speech, with noise, through ``codec``."""

    name: str
    label: str
    codec: telephone.Codec | None = None
    seconds: float | None = None
    snr_db: float | None = None

    @property
    def calibrates(self) -> bool:
        """Whether a calibration may be fitted on it: the plain channels and the durations, without what is unusual."""
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


def chosen_conditions(names: Sequence[str] | None = None, *, noisy: bool) -> list[Condition]:
    """Return those of CONDITIONS that are named, or all. Without noise, those with an SNR are left out."""
    return [each for each in CONDITIONS if (names is None or each.name in names) and (noisy or each.snr_db is None)]


@dataclass(frozen=True, eq=False)
class TrialAudio:
    """The decoded audio of a trial list, at 8 kHz. ``owner`` (clips,) and ``claimed`` (trials,) index ``speakers``.

    ``groups`` are (speakers,) bool each; a speaker whose age is not known is neither adult nor child.
    """

    speakers: list[str]
    enrollment: list[list[Waveform]]
    clips: list[Waveform]
    owner: np.ndarray
    clip: np.ndarray  # (trials,), indexes clips
    claimed: np.ndarray
    groups: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ConditionScores:
    """Scores of the test clips in one condition, against every voiceprint.

    ``clips`` (n,) index the test clips; one that is too short for the condition is not here. ``scores`` is
    (n, speakers), ``speech_seconds`` (n,) and ``snr_db`` (n,) are measured of the clips as they were heard,
    ``enrollment_seconds`` (speakers,) is the net speech behind each voiceprint.
    """

    condition: Condition
    clips: np.ndarray
    scores: np.ndarray
    speech_seconds: np.ndarray
    snr_db: np.ndarray
    enrollment_seconds: np.ndarray

    def trials(self, audio: TrialAudio) -> ScoredTrials:
        """Return the trials of ``audio`` whose clip is here, in order. Their speakers are indices."""
        row = np.full(len(audio.owner), -1)
        row[self.clips] = np.arange(len(self.clips))
        kept = row[audio.clip] >= 0
        row, claimed, owner = row[audio.clip[kept]], audio.claimed[kept], audio.owner[audio.clip[kept]]
        measures = QualityMeasures(self.speech_seconds[row], self.enrollment_seconds[claimed], self.snr_db[row])
        return ScoredTrials(self.scores[row, claimed], owner == claimed, measures, claimed, owner)


def load_audio(given: TrialList, clips: Path | None = None, *, progress: Progress = silent) -> TrialAudio:
    """Decode all audio of a trial list to 8 kHz.

    ``clips``: a table with speaker, gender and age, for the groups. Raises EvaluationError: ``unknown_speaker``,
    ``clip_without_target``, ``missing_audio``, the audio's own codes, and as ``read_table`` does.
    """
    enrolled, tried = given.enrollment, given.trials
    speakers = list(dict.fromkeys(enrolled["speaker"]))
    place = {speaker: number for number, speaker in enumerate(speakers)}
    if unknown := sorted(set(tried["speaker"]) - set(place)):
        raise EvaluationError("unknown_speaker", f"{unknown[0]} has trials and is not enrolled")
    owners = given.owners()
    names = list(dict.fromkeys(tried["audio"]))
    if ownerless := [name for name in names if name not in owners]:
        raise EvaluationError("clip_without_target", f"no target trial says who speaks in {ownerless[0]}")
    row = {name: number for number, name in enumerate(names)}
    decoded = {}
    wanted = list(dict.fromkeys([*enrolled["audio"], *names]))
    for number, name in enumerate(wanted, start=1):
        decoded[name] = _decoded(given.audio_root / name)
        progress(number, len(wanted))
    return TrialAudio(
        speakers=speakers,
        enrollment=[
            [decoded[name] for name in enrolled["audio"][enrolled["speaker"] == speaker]] for speaker in speakers
        ],
        clips=[decoded[name] for name in names],
        owner=np.array([place[owners[name]] for name in names]),
        clip=tried["audio"].map(row).to_numpy(),
        claimed=tried["speaker"].map(place).to_numpy(),
        groups={} if clips is None else _groups(read_table(clips, "speaker", "gender", "age"), speakers),
    )


def load_speech_folder(folder: Path, *, progress: Progress = silent) -> tuple[TrialAudio, list[np.ndarray]]:
    """Load the trials and the noises (n,) of a speech folder (docs/speech-format.md), as ``load_audio`` does.

    Without clips.parquet there are no groups, and without a folder noise no noises.
    """
    given = TrialList.read(*(folder / SPEECH_FOLDER[name][0] for name in ("enrollment", "trials", "audio_root")))
    clips, noises = (folder / SPEECH_FOLDER[name][0] for name in ("clips", "noise"))
    audio = load_audio(given, clips if clips.is_file() else None, progress=progress)
    return audio, noise.load(noises, "evaluation") if noises.is_dir() else []


def score_in_conditions(
    pipeline: ScoringPipeline,
    audio: TrialAudio,
    conditions: Sequence[Condition],
    noises: Sequence[np.ndarray] = (),
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> list[ConditionScores]:
    """Score every test clip in every condition against every voiceprint.

    ``noises``: (n,) each at 8 kHz, for the conditions with an SNR. A clip gets the same noise whatever other conditions
    there are. ``progress`` counts speakers that enroll, then clips. Raises EvaluationError ``speaker_without_speech``.
    """
    total = len(audio.speakers) + len(conditions) * len(audio.clips)
    enrolled = enroll(pipeline, audio, lambda done: progress(done, total))
    vectors = np.stack([each.vector for each in enrolled])
    found = []
    for number, condition in enumerate(conditions):
        clips: list[int] = []
        scores: list[np.ndarray] = []
        heard: list[Quality] = []
        for index, clip in enumerate(audio.clips):
            random = np.random.default_rng([seed, zlib.crc32(condition.name.encode()), index])
            waveform = _altered(clip, condition, noises, random)
            if waveform is not None:
                clips.append(index)
                scores.append(pipeline.score(pipeline.embed(waveform), vectors))
                heard.append(quality.measure(waveform))
            progress(len(audio.speakers) + number * len(audio.clips) + index + 1, total)
        found.append(
            ConditionScores(
                condition=condition,
                clips=np.array(clips, dtype=int),
                scores=np.array(scores, dtype=np.float64).reshape(len(clips), len(audio.speakers)),
                speech_seconds=np.array([each.speech_seconds for each in heard]),
                snr_db=np.array([each.snr_db for each in heard]),
                enrollment_seconds=np.array([each.speech_seconds for each in enrolled]),
            )
        )
    return found


def enroll(pipeline: ScoringPipeline, audio: TrialAudio, on_speaker: Callable[[int], None]) -> list[Voiceprint]:
    """Enroll every speaker. Raises EvaluationError ``speaker_without_speech``."""
    enrolled = []
    for speaker, waveforms in zip(audio.speakers, audio.enrollment, strict=True):
        clips = [EmbeddedClip(pipeline.embed(each), quality.measure(each)) for each in waveforms]
        if not any(clip.quality.speech_seconds for clip in clips):
            raise EvaluationError("speaker_without_speech", f"no enrollment clip of {speaker} holds speech")
        enrolled.append(Voiceprint.of(clips))
        on_speaker(len(enrolled))
    return enrolled


def _altered(
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


def _groups(clips: pd.DataFrame, speakers: list[str]) -> dict[str, np.ndarray]:
    known = clips.drop_duplicates("speaker").set_index("speaker").reindex(speakers)
    gender, age = known["gender"].str.lower().str[:1], pd.to_numeric(known["age"], errors="coerce")
    groups = {"female": gender == "f", "male": gender == "m", "adult": age >= ADULT_AGE, "child": age < ADULT_AGE}
    return {name: members.to_numpy(dtype=bool) for name, members in groups.items()}
