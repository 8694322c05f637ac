"""Decoding in a process of its own: what kills it, or would take all time or memory, hurts nobody else."""

import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import psutil
import pytest

from mltraining.speech.audio import isolation
from mltraining.speech.audio.channels import ChannelRequired
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.isolation import Decoder, DecoderCrashed, DecodingTimedOut
from tests.support.audio import encode, voice, wav

VOICE = voice(1)
PATIENT = 60.0  # seconds


@cache
def long_call() -> bytes:
    """117 s, which takes some hundred milliseconds to decode."""
    return encode(np.tile(VOICE, 39), "webm_opus")


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def process(decoder: Decoder) -> psutil.Process:
    assert decoder._process is not None
    return psutil.Process(decoder._process.pid)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_it_decodes_as_this_process_does(decoder: Decoder) -> None:
    for name in ("wav", "wav_float", "ogg_opus", "m4a", "flac"):
        data = encode(VOICE, name)
        found, expected = decoder.decode(data), decode(data)
        assert np.array_equal(found.samples, expected.samples)
        assert (found.sample_rate, found.container, found.codec, found.channels, found.channel) == (
            expected.sample_rate, expected.container, expected.codec, expected.channels, expected.channel,
        )  # fmt: skip
    stereo = wav(np.stack([VOICE, voice(2)]))
    assert np.array_equal(decoder.decode(stereo, channel="1").samples, decode(stereo, channel="1").samples)
    raw = encode(VOICE, "mulaw")
    assert np.array_equal(decoder.decode(raw, format="mulaw").samples, decode(raw, format="mulaw").samples)


def test_it_refuses_as_this_process_does(decoder: Decoder) -> None:
    for data in (b"", b"text", wav(VOICE)[:5000], wav(np.zeros(16_000)), wav(VOICE, 1_000)):
        with pytest.raises(AudioError) as expected:
            decode(data)
        with pytest.raises(AudioError) as found:
            decoder.decode(data)
        assert (found.value.code, str(found.value)) == (expected.value.code, str(expected.value))


def test_it_brings_all_channels_where_one_has_to_be_named(decoder: Decoder) -> None:
    data = wav(np.stack([VOICE, voice(2)]))
    with pytest.raises(ChannelRequired) as expected:
        decode(data)
    with pytest.raises(ChannelRequired) as found:
        decoder.decode(data)
    assert len(found.value.channels) == 2
    for one, other in zip(found.value.channels, expected.value.channels, strict=True):
        assert np.array_equal(one.samples, other.samples)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGFPE])
def test_a_decoder_that_dies_of_a_file_is_told_and_the_next_file_is_decoded(
    decoder: Decoder, number: signal.Signals
) -> None:
    decoder.start()
    warm = process(decoder)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(decoder.decode, long_call())
        until(lambda: bool(warm.children()) or asked.done())
        for child in warm.children():
            child.send_signal(number)
        error = asked.exception()
    assert isinstance(error, DecoderCrashed) and error.code == "undecodable_audio"
    assert error.cause == number.name
    assert decoder.decode(encode(VOICE, "ogg_opus")).duration_seconds == pytest.approx(3.0, abs=0.05)
    assert process(decoder) == warm  # only the fork died


def test_a_file_that_takes_too_much_work_is_refused(decoder: Decoder) -> None:
    with pytest.raises(AudioError) as caught:
        decoder.decode(long_call(), cpu_seconds=0.02)
    assert caught.value.code == "audio_bomb" and "longer" in str(caught.value)


def test_decoding_ends_when_nobody_waits_any_more(decoder: Decoder) -> None:
    warm = process(decoder)
    with pytest.raises(DecodingTimedOut):
        decoder.decode(long_call(), seconds=0.02)
    assert warm.children() == []


def test_a_file_that_takes_too_much_memory_is_refused(decoder: Decoder) -> None:
    """80 million entries of a table, which the size of the file does not give away."""
    data = bytearray(encode(VOICE, "m4a"))
    for box, offset, value in ((b"stsz", 8, 1), (b"stsz", 12, 80_000_000), (b"stts", 12, 80_000_000)):
        at = data.index(box) + offset
        data[at : at + 4] = struct.pack(">I", value)
    padded = bytes(data) + struct.pack(">I4s", 10 << 20, b"free") + bytes((10 << 20) - 8)
    with pytest.raises(AudioError) as caught:
        decoder.decode(padded)
    assert caught.value.code in ("audio_bomb", "empty_audio")  # FFmpeg says nothing where it gets no memory
    assert process(decoder).memory_info().rss < 200 << 20


def test_the_process_that_forks_is_started_again_when_it_is_killed(decoder: Decoder) -> None:
    decoder.start()
    warm = process(decoder)
    warm.kill()
    assert decoder.decode(encode(VOICE, "flac")).duration_seconds == 3.0
    stopped = process(decoder)
    assert stopped != warm
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(decoder.decode, long_call())
        until(lambda: bool(stopped.children()) or asked.done())
        stopped.kill()
        assert asked.result().duration_seconds == pytest.approx(117, abs=1)


def test_the_process_that_forks_does_not_grow(decoder: Decoder) -> None:
    decoder.decode(encode(VOICE, "flac"))
    before = process(decoder).memory_info().rss
    for _ in range(30):
        decoder.decode(encode(VOICE, "flac"))
        with pytest.raises(AudioError):
            decoder.decode(b"OggS" + os.urandom(2000))
    assert process(decoder).memory_info().rss < 1.1 * before
    assert process(decoder).num_fds() < 20


def test_threads_share_a_decoder(decoder: Decoder) -> None:
    files = [encode(voice(number), "ogg_opus") for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(decoder.decode, files * 3))
    for number, waveform in enumerate(found):
        assert np.array_equal(waveform.samples, decode(files[number % 4]).samples)


def test_it_ends_with_the_process_that_started_it() -> None:
    decoder = Decoder()
    decoder.start()
    warm = process(decoder)
    assert decoder._control is not None
    decoder._control.close()  # as the kernel does when this process dies
    psutil.wait_procs([warm], timeout=PATIENT)
    assert not warm.is_running() or warm.status() == psutil.STATUS_ZOMBIE
    decoder.close()


def test_it_gets_no_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEAUTH_MASTER_KEYS", "a secret")
    decoder = Decoder()
    decoder.start()
    assert set(process(decoder).environ()) <= {
        *isolation.KEPT_VARIABLES, "PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE",
    }  # fmt: skip
    decoder.close()
