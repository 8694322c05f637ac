"""Every message of every room survives the way to the other process and back."""

import dataclasses
import typing
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

import enrollment.messages
import mltraining.messages
import voiceauth.screening.messages
import voiceauth.verification.messages
from mltraining import worker_server
from mltraining.messages import Call, Embedding, Recording, decode, encode
from mltraining.speech.scoring import voiceprints
from mltraining.vectors import mean_voiceprint
from voiceauth.celery import app

ROOMS = (mltraining.messages, enrollment.messages, voiceauth.screening.messages, voiceauth.verification.messages)
CALLS = [value for room in ROOMS for value in vars(room).values() if isinstance(value, Call)]
VALUES: dict[Any, Any] = {
    str: "C-1",
    int: 3,
    float: 0.1,
    bool: True,
    bytes: b"RIFF\0\xff",
    UUID: UUID(int=7),
    np.ndarray: np.array([0.25, -1.5], dtype=np.float32),
}


def example(kind: Any) -> Any:
    """A value of the type, with every field and every optional part there."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name]) for field in dataclasses.fields(kind)})
    parts = [each for each in typing.get_args(kind) if each not in (type(None), Ellipsis)]
    if typing.get_origin(kind) is tuple:
        return tuple(example(each) for each in parts)
    return example(parts[0]) if parts else VALUES[kind]


def plain(value: Any) -> Any:
    """A message as values that compare: vectors as lists."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.task)
def test_questions_and_answers_arrive_as_they_were_sent(call: Call[Any, Any]) -> None:
    for kind in (call.question, call.answer):
        sent = example(kind)
        arrived = decode(encode(sent), kind)
        assert plain(dataclasses.asdict(arrived)) == plain(dataclasses.asdict(sent))


def test_a_worker_answers_every_call() -> None:
    app.loader.import_default_modules()
    ours = {name for name in worker_server.handlers if not name.startswith("tests.")}
    assert ours == {call.task for call in CALLS}


def test_a_vector_travels_as_float32_and_audio_as_bytes() -> None:
    vector = np.arange(192, dtype=np.float64)
    sent = encode(Embedding(model_version="v", model_fingerprint="f", vector=vector))
    assert len(sent) < 192 * 4 + 100
    assert decode(sent, Embedding).vector.dtype == np.float32
    audio = bytes(range(256)) * 40
    assert audio in encode(Recording(audio=audio))


def test_a_message_of_another_type_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(encode(Recording(audio=b"x")), Embedding)


def test_a_message_does_not_show_a_voice_where_it_is_printed() -> None:
    for kind in {kind for call in CALLS for kind in (call.question, call.answer)}:
        shown = repr(example(kind))
        assert "RIFF" not in shown and "array" not in shown


def test_web_processes_and_the_speech_library_take_the_same_mean_of_embeddings() -> None:
    random = np.random.default_rng(0)
    embeddings, weights = random.normal(size=(7, 16)).astype(np.float32), random.uniform(1, 9, size=7)
    assert np.array_equal(mean_voiceprint(embeddings, weights), voiceprints.mean_voiceprint(embeddings, weights))
    with pytest.raises(ValueError, match="no mean direction"):
        mean_voiceprint(embeddings, np.zeros(7))
