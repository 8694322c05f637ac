import io
import struct
import threading
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltraining.speech.audio import containers, decoding
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import MESSAGES, AudioError
from mltraining.speech.audio.waveform import Waveform, resample
from tests.support.audio import FORMATS, HEADERLESS, Pipe, encode, voice, wav

RATE = 16_000
VOICE = voice(1)
# Where the header or the pages tell that the end is missing. A cut through bare frames cannot be told.
TELL_TRUNCATION = sorted(set(FORMATS) - set(HEADERLESS) - {"aac", "amr_nb", "mpeg_ts", "mpeg_ts_mp2"})


@cache
def encoded(name: str) -> bytes:
    return encode(VOICE, name)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(AudioError) as caught:
        decode(data, **options)
    assert str(caught.value)
    return caught.value.code


def outcome(data: bytes, **options: Any) -> Waveform | str:
    try:
        return decode(data, **options)
    except AudioError as error:
        return error.code


def float_wav(samples: np.ndarray, sample_rate: int = 16_000) -> bytes:
    data = samples.astype("<f4").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, sample_rate,
                         sample_rate * 4, 4, 32, b"data", len(data))  # fmt: skip
    return header + data


@pytest.mark.parametrize("name", FORMATS)
def test_a_telephone_or_browser_format_decodes_to_the_voice_that_was_encoded(name: str) -> None:
    waveform = decode(encoded(name), format=name if name in HEADERLESS else None)
    decoded = resample(waveform.samples, waveform.sample_rate, 8_000)
    original = resample(VOICE, 16_000, 8_000)
    size = len(decoded) + len(original)
    correlation = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(original, size)), size)
    likeness = correlation.max() / np.linalg.norm(decoded) / np.linalg.norm(original)
    assert waveform.samples.dtype == np.float32
    assert np.abs(waveform.samples).max() <= 1
    assert waveform.duration_seconds == pytest.approx(3.0, abs=0.08)
    assert likeness > (0.8 if name in ("amr_nb", "wav_g723_1", "mpeg_ts_mp2") else 0.98)


@pytest.mark.parametrize("name", TELL_TRUNCATION)
def test_a_file_cut_short_is_refused_as_truncated(name: str) -> None:
    assert refusal(encoded(name)[: int(len(encoded(name)) * 0.6)]) == "truncated_audio"


@pytest.mark.parametrize("name", ["aac", "amr_nb"])
def test_a_recording_of_bare_frames_may_end_within_a_frame(name: str) -> None:
    assert decode(encoded(name)[: int(len(encoded(name)) * 0.6)]).duration_seconds == pytest.approx(1.8, abs=0.1)


@pytest.mark.parametrize("seconds", [1, 2.5, 4, 7.3])
def test_the_padding_of_an_mp3_is_no_part_that_is_missing(seconds: float) -> None:
    assert decode(encode(voice(1, seconds=seconds), "mp3")).duration_seconds == pytest.approx(seconds, abs=0.15)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_while_it_was_recorded_has_no_length_and_is_read_to_its_end(size: int) -> None:
    data = bytearray(wav(VOICE))
    data[4:8] = data[40:44] = struct.pack("<I", size)
    assert decode(bytes(data)).duration_seconds == pytest.approx(3.0)


def test_a_webm_from_a_media_recorder_has_no_duration_and_is_read_to_its_end() -> None:
    pipe = Pipe()
    with av.open(pipe, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(resample(VOICE, 16_000, 48_000)[None], format="flt", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame) + stream.encode(None))
    data = bytes(pipe.written)
    with av.open(io.BytesIO(data), "r") as written:
        assert written.duration is None
    assert decode(data).duration_seconds == pytest.approx(3.0, abs=0.05)


def test_a_fragmented_mp4_is_read_to_its_end() -> None:
    buffer = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(VOICE[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame) + stream.encode(None))
    assert decode(buffer.getvalue()).duration_seconds == pytest.approx(3.0, abs=0.1)


def test_the_audio_track_of_a_video_is_taken_and_a_video_without_one_is_not_audio() -> None:
    def video(with_audio: bool) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            sound = container.add_stream("libopus", rate=48_000, layout="mono") if with_audio else None
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
                container.mux(pictures.encode(picture.reformat(format="yuv420p")))
            container.mux(pictures.encode(None))
            if sound:
                frame = av.AudioFrame.from_ndarray(resample(VOICE, 16_000, 48_000)[None], format="flt", layout="mono")
                frame.sample_rate = 48_000
                container.mux(sound.encode(frame) + sound.encode(None))
        return buffer.getvalue()

    assert decode(video(with_audio=True)).duration_seconds == pytest.approx(3.0, abs=0.05)
    assert refusal(video(with_audio=False)) == "not_audio"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_audio"),
        (wav(np.zeros(0)), "empty_audio"),
        (b"hello, this is a letter and not a recording" * 50, "not_audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "not_audio"),
        (b"PK\x03\x04" + bytes(500), "not_audio"),
        (b"%PDF-1.7\n" + bytes(500), "not_audio"),
        (b"MZ" + bytes(500), "not_audio"),
        ("text in UTF-16 starts like an MPEG frame".encode("utf-16"), "not_audio"),
        (wav(VOICE)[:30], "truncated_audio"),
        (b"OggS" + bytes(500), "truncated_audio"),
        (b"fLaC" + bytes(500), "truncated_audio"),
        (wav(np.zeros(16_000)), "silent_audio"),
        (wav(np.full(16_000, 0.3)), "silent_audio"),
        (wav(np.full(16_000, 2e-5)), "silent_audio"),
        (encode(np.zeros(16_000), "wav_alaw"), "silent_audio"),
        (wav(VOICE[8000:8800]), "audio_too_short"),
        (float_wav(np.where(np.arange(16_000) == 9, np.nan, 0.1)), "invalid_samples"),
        (float_wav(np.where(np.arange(16_000) == 9, -np.inf, 0.1)), "invalid_samples"),
        (wav(VOICE, 1_000), "audio_bomb"),
        (wav(VOICE, 384_000), "audio_bomb"),
        (wav(np.zeros((40, 16_000))), "audio_bomb"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:8]),
)
def test_unusable_audio_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert refusal(data) == code


def test_audio_over_the_limit_is_refused_and_audio_at_the_limit_is_not() -> None:
    assert decode(wav(VOICE), max_seconds=3).duration_seconds == 3
    assert refusal(wav(np.tile(VOICE, 2)), max_seconds=3) == "audio_too_long"


def long_flac(seconds: int, amplitude: float) -> bytes:
    """8 kHz FLAC in its largest blocks: an hour of silence takes 14 kB."""
    block, buffer = 65_535, io.BytesIO()
    noise = (np.random.default_rng(1).normal(size=block) * amplitude * 32767).astype(np.int16)
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=8_000, layout="mono", options={"frame_size": str(block)})
        stream.codec_context.format = "s16"
        for number in range(seconds * 8_000 // block):
            frame = av.AudioFrame.from_ndarray(noise[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8_000, number * block
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("amplitude", "code"), [(0.0, "audio_bomb"), (0.1, "audio_too_long")])
def test_decoding_stops_at_the_limit_and_memory_stays_bounded(amplitude: float, code: str) -> None:
    data = long_flac(1_800, amplitude)
    tracemalloc.start()
    found = refusal(data, max_seconds=120)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == code
    assert peak < 2 * 120 * 8_000 * 4 + 2 * 65_535 * 8 + len(data) / 100  # the whole would be 58 MB


def test_a_wav_with_a_wrong_byte_rate_is_read_and_not_in_ten_thousand_packets() -> None:
    data = bytearray(wav(np.tile(VOICE, 3)))
    data[28:32] = (1).to_bytes(4, "little")
    assert decode(bytes(data)).duration_seconds == pytest.approx(9.0)


def test_metadata_that_claims_gigabytes_is_not_searched() -> None:
    whole = wav(VOICE)
    listed = b"LIST" + struct.pack("<I", 0x7FFFFFFF) + b"INFO"
    assert refusal(whole[:36] + listed + whole[36:]) == "truncated_audio"


def test_metadata_of_an_odd_size_is_passed() -> None:
    whole = wav(VOICE)
    listed = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    assert decode(whole[:36] + listed + whole[36:]).duration_seconds == pytest.approx(3.0)


def test_files_of_countless_tiny_parts_are_given_up() -> None:
    chunks = b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 5_000
    assert refusal(chunks) == "audio_bomb"
    instant = 8  # samples, 0.5 ms a block: ADPCM blocks are as long as their header says
    header = struct.pack("<4sI4s4sIHHIIHHHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 20, 0x11, 1, 16_000, 16_000, 8, 4, 2,
                         instant, b"data", 0)  # fmt: skip
    assert refusal(header + b"\1\2\3\0\5\6\7\x08" * 5_000) == "audio_bomb"


def test_a_header_that_claims_hours_is_not_believed() -> None:
    data = bytearray(encoded("flac"))
    samples = (1 << 36) - 1  # the low 36 bits at offset 21 of the file, in 16 kHz: seven weeks
    data[21:26] = ((int.from_bytes(data[21:26], "big") >> 36 << 36) | samples).to_bytes(5, "big")
    assert refusal(bytes(data)) == "truncated_audio"


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///{path}\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '{path}'\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
        b'<?xml version="1.0"?><MPD><Period><BaseURL>file://{path}</BaseURL></Period></MPD>',
    ],
)
def test_playlists_and_references_are_not_audio_and_open_nothing(data: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(VOICE))
    assert refusal(data.replace(b"{path}", str(secret).encode())) == "not_audio"


def test_an_unknown_headerless_format_is_refused() -> None:
    assert refusal(b"\xff" * 8000, format="concat") == "not_audio"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from([name for name in FORMATS if name not in HEADERLESS]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    early=st.booleans(),
    keep=st.floats(0.01, 1),
)
def test_damaged_bytes_give_audio_or_an_audio_error_and_nothing_else(
    name: str, edits: list[tuple[float, int]], early: bool, keep: float
) -> None:
    data = bytearray(encoded(name))
    reach = min(len(data), 300) if early else len(data)  # headers deserve their share of the damage
    for place, value in edits:
        data[min(int(place * reach), len(data) - 1)] = value
    found = outcome(bytes(data[: max(1, int(keep * len(data)))]), max_seconds=10)
    if isinstance(found, str):
        assert found in MESSAGES
    else:
        assert np.isfinite(found.samples).all()
        assert np.abs(found.samples).max() <= 1
        assert found.duration_seconds <= 10 + decoding.LIMIT_SLACK_SECONDS


@settings(max_examples=100, deadline=None)
@given(head=st.sampled_from([b"", b"RIFF\0\0\0\0WAVEfmt ", b"OggS", *containers.MAGIC]), tail=st.binary(max_size=400))
def test_any_bytes_give_audio_or_an_audio_error(head: bytes, tail: bytes) -> None:
    found = outcome(head + tail)
    assert isinstance(found, Waveform) or found in MESSAGES


def test_threads_decode_side_by_side_to_the_same_samples() -> None:
    expected = decode(encoded("ogg_opus")).samples
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(decode(encoded("ogg_opus")).samples)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(samples, expected) for samples in found)


@pytest.mark.parametrize(("source", "target"), [(8_000, 16_000), (48_000, 16_000), (22_050, 16_000), (44_100, 8_000)])
def test_resampling_keeps_a_tone_in_place_and_its_length(source: int, target: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(source) / source).astype(np.float32)
    resampled = resample(tone, source, target)
    assert len(resampled) == target
    expected = np.sin(2 * np.pi * 1000 * np.arange(target) / target)
    np.testing.assert_allclose(resampled[200:-200], expected[200:-200], atol=1e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 6000 * np.arange(16_000) / 16_000).astype(np.float32)
    assert np.abs(resample(tone, 16_000, 8_000)[200:-200]).max() < 1e-3


def test_a_waveform_knows_its_duration() -> None:
    assert Waveform(np.zeros(800, dtype=np.float32), 8_000).duration_seconds == 0.1
