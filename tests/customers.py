"""Customers, API clients of every role, and a stand-in for the scoring worker at the edge of the process.

The stand-in runs the worker's own code on a stand-in model. A "recording" is a small JSON text that says whose
voice it is and what the worker would measure: ``recording("ann", take=2, speech_seconds=12.0)``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from enrollment import samples, services
from enrollment.models import Consent, Customer
from mltraining import calibrations, recordings, scorer, worker_client, worker_server
from mltraining.errors import NotAudio
from mltraining.messages import Answer, Call, Question, Recording, decode, encode
from mltraining.models import ModelVersion
from mltraining.recordings import Analysis, Voice
from mltraining.speech.audio import replay
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests import evidence
from voiceauth.celery import app
from voiceauth.platform.api.clients import create_client
from voiceauth.platform.audit import Actor
from voiceauth.platform.erasure import job
from voiceauth.platform.erasure.models import Erasure

TELLER = Actor(name="branch-7", role="teller")
IVR = Actor(name="ivr-1", role="ivr")
DIMENSIONS = 32


def recording(voice: str, take: int = 1, **measured: Any) -> bytes:
    return json.dumps({"voice": voice, "take": take, **measured}).encode()


def upload(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("call.wav", content, content_type="audio/wav")


def activate_model(name: str = "first") -> ModelVersion:
    """A registered model in service; the one before is retired."""
    ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
    model = ModelVersion.objects.create(
        version=name,
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        state=ModelVersion.State.ACTIVE,
        calibration_version="c1",
        data_hash="d" * 64,
    )
    evidence.calibrate(model)
    return model


def consenting_customer(customer_id: str) -> Customer:
    services.create_customer(customer_id=customer_id, actor=TELLER)
    services.give_consent(
        customer_id=customer_id,
        purpose=Consent.Purpose.VOICE_AUTHENTICATION,
        text_version="2026-09",
        origin="branch",
        actor=TELLER,
    )
    return Customer.objects.get(customer_id=customer_id)


def enrolled_customer(customer_id: str) -> Customer:
    """Needs ``worker``; the customer's voice is called like the customer."""
    consenting_customer(customer_id)
    samples.enroll_sample(
        customer_id=customer_id, audio=recording(customer_id, take=0, speech_seconds=30.0), actor=TELLER
    )
    return Customer.objects.get(customer_id=customer_id)


def run_erasures() -> None:
    """One attempt at every erasure that waits, as the training worker makes it."""
    for pk in list(Erasure.waiting().values_list("pk", flat=True)):
        job.execute(pk)


@dataclass
class StandInPipeline:
    """Scores and compares by the real pipeline's code; it holds no network."""

    dimensions: int = DIMENSIONS
    threshold: float = 0.5
    calibration: Calibration = field(
        default_factory=lambda: Calibration(slope=16.0, offset=-8.0, prior=0.5, version="c1")
    )
    cohort: Cohort | None = None
    score: ClassVar[Any] = ScoringPipeline.score
    compare: ClassVar[Any] = ScoringPipeline.compare


@dataclass(frozen=True)
class _Analysis(Analysis):
    said: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def views(self) -> list[np.ndarray]:
        """Those of a recording: the same for the same voice and take, whatever was measured."""
        seed = hashlib.sha256(repr((self.said["voice"], self.said["take"])).encode()).digest()
        hashes = np.random.default_rng(list(seed)).integers(0, 2**22, replay.KEPT)
        return [np.array([(value, frame) for frame, value in enumerate(hashes)], dtype=replay.PAIR)]

    def remainder(self) -> bytes | None:
        return None if self.is_whole else json.dumps({"redacted": self.said}).encode()


@dataclass(frozen=True)
class _Voice(Voice):
    def windows(self) -> np.ndarray:
        """Those of "voices", where the recording has more than one."""
        assert isinstance(self.analysis, _Analysis)
        said = self.analysis.said
        voices = said.get("voices", [said["voice"]] * 3)
        return np.stack([embedding_of(voice, number, self.model.fingerprint) for number, voice in enumerate(voices)])


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


def client_of(role: str) -> APIClient:
    """An API client with a fresh token of that role."""
    _, token = create_client(name=f"a-{role}", role=role, actor=TELLER)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def teller(db: None) -> APIClient:
    return client_of("teller")


@pytest.fixture
def ivr(db: None) -> APIClient:
    return client_of("ivr")


@pytest.fixture
def reviewer(db: None) -> APIClient:
    return client_of("reviewer")


@pytest.fixture
def admin(db: None) -> APIClient:
    return client_of("admin")


def error_code(response: Any) -> str:
    return str(response.json()["error"]["code"])
