"""A stand-in for the scoring worker, within the process of the test.

It runs the worker's own code on a stand-in model. A "recording" is a small JSON text that says whose
voice it is and what the worker would measure: ``recording("ann", take=2, speech_seconds=12.0)``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pytest_django import Settings

from mltraining import calibrations, recordings, scorer, worker_client, worker_server
from mltraining.errors import NotAudio
from mltraining.messages import Answer, Call, Question, Recording, decode, encode
from mltraining.models import ModelVersion
from mltraining.recordings import Analysis, Voice
from mltraining.speech.audio import replay
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.redaction import Intervals
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from mltraining.speech.scoring.one_voice import Windows
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.support import model
from tests.support.audio import demo_voice
from voiceauth.celery import app

DIMENSIONS = 32


def recording(voice: str, take: int = 1, **measured: Any) -> bytes:
    return json.dumps({"voice": voice, "take": take, **measured}).encode()


@dataclass
class StandInPipeline:
    """Scores and compares by the real pipeline's code; it holds no network."""

    dimensions: int = DIMENSIONS
    threshold: float = 0.5
    calibration: Calibration = field(
        default_factory=lambda: Calibration(slope=16.0, offset=-8.0, prior=0.5, version="c1")
    )
    cohort: Cohort | None = None
    decoys: np.ndarray | None = None
    score: ClassVar[Any] = ScoringPipeline.score
    compare: ClassVar[Any] = ScoringPipeline.compare
    bound: ClassVar[Any] = ScoringPipeline.bound


@dataclass(frozen=True)
class _Analysis(Analysis):
    said: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def views(self) -> list[np.ndarray]:
        """Those of a recording: the same for the same voice and take, whatever was measured."""
        seed = hashlib.sha256(repr((self.said["voice"], self.said["take"])).encode()).digest()
        hashes = np.random.default_rng(list(seed)).integers(0, 2**22, replay.KEPT)
        return [np.array([(value, frame) for frame, value in enumerate(hashes)], dtype=replay.PAIR)]

    def without(self, stretches: Intervals) -> "_Analysis":
        """Leave the voices of the windows that begin in the first stretch out, and none of a replay."""
        voices = self.said.get("voices", [])[round(stretches[0][1]) :]
        if not voices:
            return replace(self, quality=replace(self.quality, speech_seconds=0.0), is_whole=False)
        return replace(self, said=self.said | {"voice": voices[-1], "voices": voices}, is_whole=False)

    def remainder(self) -> bytes | None:
        return None if self.is_whole else json.dumps({"redacted": self.said}).encode()


@dataclass(frozen=True)
class _Voice(Voice):
    def windows(self, *, alone: bool = False) -> Windows:
        """Those of "voices", where the recording has more than one."""
        assert isinstance(self.analysis, _Analysis)
        said = self.analysis.said
        voices = said.get("voices", [said["voice"]] * 4)
        vectors = [embedding_of(voice, number, self.model.fingerprint) for number, voice in enumerate(voices)]
        return Windows(np.stack(vectors), np.arange(len(voices), dtype=float), 2.0)


@dataclass
class StandInWorker:
    """What ``worker_client.call`` reaches. ``before_answer`` runs between the analysis and its answer.

    Questions and answers are encoded and decoded as between two processes.
    """

    calls: list[str] = field(default_factory=list)
    before_answer: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        app.loader.import_default_modules()  # as a worker does, which registers what it answers

    def call(self, kind: Call[Question, Answer], question: Question, *, deadline_seconds: float) -> Answer:
        self.calls.append(kind.task)
        answer = encode(worker_server.handlers[kind.task](decode(encode(question), kind.question)))
        if self.before_answer is not None:
            self.before_answer()
        return decode(answer, kind.answer)


def _active_model() -> scorer.LoadedModel | None:
    row = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()
    if row is None:
        return None
    pipeline: Any = StandInPipeline()
    calibration = calibrations.in_force(row.version)
    assert calibration is not None
    return scorer.LoadedModel(row.version, row.fingerprint, pipeline, calibration)


def _analyse(recording: Recording) -> _Analysis:
    try:
        said = json.loads(recording.audio)
    except ValueError:
        raise NotAudio from None
    measured = {"duration_seconds": 40.0, "speech_seconds": 10.0, "snr_db": 25.0, "clipping_ratio": 0.0}
    measured |= {name: value for name, value in said.items() if name in measured}
    measured["speech_seconds"] -= sum(end - start for start, end in recording.redact)
    waveform = Waveform(np.zeros(8000, dtype=np.float32), 8000, said.get("container", "wav"), "pcm_s16le")
    return _Analysis(waveform, Quality(**measured), is_whole=not recording.redact, said=said)


def _voice_of(analysis: Analysis, model: scorer.LoadedModel) -> _Voice:
    assert isinstance(analysis, _Analysis)
    return _Voice(analysis, model, embedding_of(analysis.said["voice"], analysis.said["take"], model.fingerprint))


def embedding_of(voice: str, take: int, fingerprint: str) -> np.ndarray:
    """(DIMENSIONS,) float32, unit length: takes of one voice have a cosine near 0.9, two voices near 0."""

    def direction(*words: object) -> np.ndarray:
        seed = hashlib.sha256(repr(words).encode()).digest()
        vector = np.random.default_rng(list(seed)).normal(size=DIMENSIONS)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    mixed = direction(voice, fingerprint) + 0.3 * direction(voice, take, fingerprint)
    return np.asarray(mixed / np.linalg.norm(mixed), dtype=np.float32)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> StandInWorker:
    """The stand-in, in place of the queue and the process behind it."""
    stand_in = StandInWorker()
    monkeypatch.setattr(worker_client, "call", stand_in.call)
    monkeypatch.setattr(scorer, "active_model", _active_model)
    monkeypatch.setattr(recordings, "analyse", _analyse)
    monkeypatch.setattr(recordings, "voice_of", _voice_of)
    return stand_in


@pytest.fixture
def real_audio_model(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    """A small model in service that tells the demo's first two voices apart, and this process as its worker."""
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 3
    monkeypatch.setattr(worker_client, "call", StandInWorker().call)
    row = model.register_untrained(tmp_path, apart=(demo_voice(0), demo_voice(1)))
    model.put_into_service(row)
    model.leave_voices_together()
    return row
