"""Plain samples are read without FFmpeg: to the same values, and with the same refusals."""

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mltraining.speech.audio import containers, decoding, plain
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.isolation import Decoder
from mltraining.speech.audio.waveform import Waveform
from tests.support.audio import encode, voice

VOICE = voice(1)
BOTH = np.stack([VOICE, voice(2)])
WAVES = ("wav", "wav_mulaw", "wav_alaw")
HEADERLESS = ("mulaw", "alaw", "s16le", "s16le-16000", "s16be", "s16be-16000")

Outcome = dict[str, object] | tuple[str, str]


@pytest.fixture
def ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """What FFmpeg makes of a file."""

    def run(data: bytes, **options: Any) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setattr(plain, "find", lambda *_: None)
            return outcome(data, **options)

    return run


def outcome(data: bytes, **options: Any) -> Outcome:
    try:
        found: Waveform = decode(data, **options)
    except AudioError as error:
        return error.code, str(error)
    return vars(found) | {"samples": found.samples.tobytes()}


@pytest.mark.parametrize("name", [*WAVES, *HEADERLESS])
def test_every_value_of_a_sample_is_ffmpegs(ffmpeg: Callable[..., Outcome], name: str) -> None:
    width = 2 if "16" in name or name == "wav" else 1
    samples = np.arange(1 << 8 * width, dtype=f"<u{width}").tobytes() * (16 // width**2)
    options: dict[str, Any] = {"format": name} if name in HEADERLESS else {}
    data = samples if options else encode(VOICE, name)[:-1000] + samples[:1000]
    assert decoding.is_plain(data, **options)
    assert outcome(data, **options) == ffmpeg(data, **options)


@pytest.mark.parametrize("name", WAVES)
@pytest.mark.parametrize("samples", [VOICE, BOTH], ids=["one channel", "two"])
def test_cut_long_and_damaged_files_end_as_ffmpeg_ends_them(
    ffmpeg: Callable[..., Outcome], name: str, samples: np.ndarray
) -> None:
    data = encode(samples, name)
    rng = random.Random(f"{name} {len(samples)}")
    for change in range(60):
        changed = bytearray(data[: len(data) - rng.choice((0, 0, 1, 2, 3, 700, 20_000))])
        for _ in range(rng.randrange(3)):
            changed[rng.randrange(60)] = rng.randrange(256)
        options: dict[str, Any] = {"max_seconds": rng.choice((1.0, 120.0)), "channel": rng.choice((None, "mono", "1"))}
        assert outcome(bytes(changed), **options) == ffmpeg(bytes(changed), **options), change


def test_what_is_plain_needs_no_process() -> None:
    decoder = Decoder()
    for name in WAVES:
        decoder.decode(encode(VOICE, name))
    for name in HEADERLESS:
        decoder.decode(encode(VOICE, name), format=name)
    assert decoder._process is None


@pytest.mark.parametrize("name", ["wav_float", "wav_24_bit", "wav_8_bit", "wav_ima_adpcm", "ogg_opus", "au", "w64"])
def test_what_is_not_goes_to_one(name: str) -> None:
    assert not decoding.is_plain(encode(VOICE, name))


def test_nothing_large_is_read_in_the_process_of_the_model() -> None:
    data = bytearray(encode(VOICE, "wav"))
    for rate in (16_001, 192_000):
        data[24:28] = struct.pack("<I", rate)
        assert not decoding.is_plain(bytes(data))
    assert not decoding.is_plain(encode(VOICE, "g722"), format="g722")
    assert not decoding.is_plain(b"")
    assert not decoding.is_plain(b"text", format="tape")


@pytest.mark.parametrize("name", ["m4a", "webm_opus", "ogg_opus", "mp3", "avi"])
def test_what_is_not_plain_is_not_looked_into_here(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(containers, "recognise", None)
    assert not decoding.is_plain(encode(VOICE, name))
    assert not decoding.is_plain(b"ID3" + bytes(7) + encode(VOICE, "wav"))
    assert not decoding.is_plain(encode(VOICE, "wav").replace(b"RIFF", b"RIFX", 1))
