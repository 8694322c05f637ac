"""Containers as recorders, taggers, scripts and browsers leave them: read as a player reads them."""

import io
import struct
from collections.abc import Callable

import av
import numpy as np
import pytest

from mltraining.speech.audio.decoding import MAX_STEPS, decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform, resample
from tests.support.audio import Pipe, encode, voice, wav

VOICE = voice(3)
SECONDS = 3.0
RATE = 16_000


def code(data: bytes) -> str:
    """The code of a refusal; empty where the file is read."""
    try:
        decode(data)
    except AudioError as error:
        return error.code
    return ""


def likeness(waveform: Waveform, original: np.ndarray = VOICE, rate: int = RATE) -> float:
    """The largest correlation, over all delays, of what was decoded and the original; both at 8 kHz."""
    one, other = resample(waveform.samples, waveform.sample_rate, 8_000), resample(original, rate, 8_000)
    size = len(one) + len(other)
    found = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    return float(found.max() / np.linalg.norm(one) / np.linalg.norm(other))


def packets(name: str, keep: Callable[[float], bool], form: str, later: float = 0.0) -> bytes:
    """The voice in a container, without the packets whose time (seconds) is not kept, and starting ``later``."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(encode(VOICE, name)), "r") as given, av.open(buffer, "w", format=form) as out:
        stream = given.streams.audio[0]
        copy = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.pts is None or packet.dts is None or not keep(float(packet.pts * packet.time_base)):
                continue
            shift = round(later / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
            out.mux(packet)
    return buffer.getvalue()


# What stands behind the audio. Nothing of it is heard.
TAILS = {
    "a sector's zeros": bytes(4096),
    "a few zeros": bytes(3),
    "an ID3v1 tag": b"TAG" + b"branch 12".ljust(125, b"\0"),
    "an APE tag": b"APETAGEX\xd0\x07\0\0" + b"\x40\0\0\0\x01\0\0\0" + bytes(40),
    "a line of text": b"queue=mortgages;agent=3;duration=3.0\r\n",
    "text that is no ASCII": "Kunde: Jürgen Weiß, 电话\n".encode(),
    "erased flash memory": b"\xff" * 1000,
    "noise": np.random.default_rng(5).bytes(777),
    "a chunk that claims gigabytes": b"LIST" + struct.pack("<I", 0x7FFFFFFF) + b"INFO",
    "another file": wav(VOICE[:8000]),
}
TAILED = ("wav", "wav_mulaw", "wav_24_bit", "aiff", "caf", "au", "m4a", "alac", "flac", "mp3", "aac", "ogg_opus", "w64")


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", TAILED)
def test_what_stands_behind_the_audio_is_no_part_of_it(name: str, tail: str) -> None:
    whole = encode(VOICE, name)
    plain, tailed = decode(whole), decode(whole + TAILS[tail])
    # A parser of bare frames may find one more in the tail.
    assert tailed.duration_seconds == pytest.approx(plain.duration_seconds, abs=0.1)
    length = min(len(plain.samples), len(tailed.samples)) - 2000
    np.testing.assert_allclose(tailed.samples[:length], plain.samples[:length], atol=1e-6)


@pytest.mark.parametrize("missing", [2, 8, 200, 20_000])
def test_a_wav_whose_size_is_stale_is_heard_as_far_as_its_size_says(missing: int) -> None:
    data = bytearray(wav(VOICE))
    data[40:44] = struct.pack("<I", len(data) - 44 - missing)
    assert decode(bytes(data)).duration_seconds == pytest.approx(SECONDS - missing / 2 / RATE)


def test_samples_of_an_odd_size_need_no_pad_byte() -> None:
    whole = encode(VOICE, "wav_mulaw")
    at = whole.index(b"data")
    odd = struct.unpack("<I", whole[at + 4 : at + 8])[0] - 1
    listed = b"LIST" + struct.pack("<I", 12) + b"INFOISFT\0\0\0\0"
    data = whole[: at + 4] + struct.pack("<I", odd) + whole[at + 8 : at + 8 + odd] + listed
    assert decode(data).duration_seconds == pytest.approx(SECONDS, abs=0.001)


@pytest.mark.parametrize("padded", [True, False])
def test_metadata_of_an_odd_size_in_front_may_lack_its_pad_byte(padded: bool) -> None:
    whole = wav(VOICE)
    listed = b"note" + struct.pack("<I", 5) + b"hello" + b"\0" * padded
    assert decode(whole[:36] + listed + whole[36:]).duration_seconds == SECONDS


def syncsafe(size: int) -> bytes:
    """A size as ID3 writes it: seven bits a byte."""
    return bytes(size >> shift & 127 for shift in (21, 14, 7, 0))


@pytest.mark.parametrize("text", [b"\xff\xfe\x41", "Gespräch".encode("latin-1"), b"\0" * 50, b"%n%s" * 50, b"a" * 9000])
def test_tags_may_hold_any_text(text: bytes) -> None:
    content = b"INFOINAM" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    whole = wav(VOICE)
    listed = b"LIST" + struct.pack("<I", len(content)) + content
    assert decode(whole[:36] + listed + whole[36:]).duration_seconds == SECONDS
    frame = b"TIT2" + syncsafe(len(text) + 1) + b"\0\0\3" + text
    assert likeness(decode(b"ID3\4\0\0" + syncsafe(len(frame)) + frame + encode(VOICE, "mp3"))) > 0.98


@pytest.mark.parametrize("name", ["mp3", "aac", "flac", "ogg_opus", "wav"])
def test_an_id3_tag_may_stand_in_front_of_any_format(name: str) -> None:
    tag = b"ID3\3\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    assert likeness(decode(tag + encode(VOICE, name))) > 0.98


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: round(len(data) * share)]


def test_audio_that_is_known_to_be_missing_is_refused_in_every_container_that_tells() -> None:
    front = io.BytesIO()
    fragments = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
    with (
        av.open(io.BytesIO(encode(VOICE, "m4a")), "r") as given,
        av.open(front, "w", format="mp4", options=fragments) as out,
    ):
        copy = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    assert code(front.getvalue()) == ""
    assert code(cut(front.getvalue())) == "truncated_audio"
    for name in ("wav", "webm_opus", "flac", "mp3", "avi", "w64", "wma", "caf_ima4", "aifc_ima4"):
        assert (name, code(cut(encode(VOICE, name)))) == (name, "truncated_audio")


@pytest.mark.parametrize(
    "name", ["wav", "wav_mulaw", "au", "webm_opus", "flac", "mp3", "avi", "w64", "wma", "caf_ima4", "aifc_ima4"]
)
def test_a_recording_that_lacks_its_last_words_is_read_and_said_to_be_truncated(name: str) -> None:
    whole, shorter = decode(encode(VOICE, name)), decode(cut(encode(VOICE, name), 0.85))
    assert (whole.truncated, shorter.truncated) == (False, True)
    assert shorter.duration_seconds == pytest.approx(0.85 * SECONDS, abs=0.25)
    assert likeness(shorter) > 0.85


def test_a_recording_that_was_stopped_while_it_was_sent_is_not_truncated() -> None:
    """Its segment and its clusters have no size, so no audio is known to be missing."""

    pipe = Pipe()
    with av.open(io.BytesIO(encode(VOICE, "webm_opus")), "r") as given, av.open(pipe, "w", format="webm") as out:
        copy = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    assert decode(cut(bytes(pipe.written))).duration_seconds == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize("more", [0.05, 0.3, 2.0, 60.0])
def test_a_duration_in_the_header_goes_by_the_clock_and_proves_nothing(more: float) -> None:
    data = encode(VOICE, "webm_opus")
    at = data.index(b"\x44\x89\x88") + 3
    longer = data[:at] + struct.pack(">d", 1000 * (SECONDS + more)) + data[at + 8 :]
    assert decode(longer).duration_seconds == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize("form", ["webm", "matroska"])
@pytest.mark.parametrize(
    ("name", "keep", "later", "seconds"),
    [
        ("webm_opus", lambda at: round(at * 50) % 30 != 7, 0.0, 2.9),  # a packet in thirty is lost
        ("webm_opus", lambda at: not 1 <= at < 2, 0.0, 2.0),  # nothing is sent in a pause
        ("webm_opus", lambda at: True, 7.0, 3.0),  # the caller joins after seven seconds
        ("webm_opus", lambda at: at >= 1, 0.0, 2.0),  # the beginning is lost
    ],
)
def test_packets_that_were_not_sent_are_not_missing(
    form: str, name: str, keep: Callable[[float], bool], later: float, seconds: float
) -> None:
    assert decode(packets(name, keep, form, later)).duration_seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("form", ["mp4", "ipod"])
def test_an_mp4_whose_packets_were_lost_is_heard(form: str) -> None:
    data = packets("m4a", lambda at: round(at * RATE / 1024) % 9 != 5, form)
    assert decode(data).duration_seconds == pytest.approx(SECONDS * 8 / 9, abs=0.2)


def test_a_picture_may_go_on_after_the_sound() -> None:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(encode(VOICE, "webm_opus")), "r") as given, av.open(buffer, "w", format="webm") as out:
        picture = out.add_stream("libvpx", rate=5)
        picture.width = picture.height = 32
        sound = out.add_stream_from_template(given.streams.audio[0])
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            out.mux(picture.encode(frame.reformat(format="yuv420p")))
        out.mux(picture.encode(None))
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                out.mux(packet)
    assert decode(buffer.getvalue()).duration_seconds == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.3])
def test_an_mp3_as_an_encoder_writes_it_to_a_file_is_whole(rate: int, seconds: float) -> None:
    """Its header counts frames of padding, at 8 kHz of 72 ms each."""
    samples, buffer = voice(3, seconds=seconds), io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(resample(samples, RATE, rate)[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame) + stream.encode(None))
    assert b"Xing" in buffer.getvalue() or b"Info" in buffer.getvalue()
    assert decode(buffer.getvalue()).duration_seconds == pytest.approx(seconds, abs=0.2)


def test_several_recordings_in_one_ogg_are_heard_one_after_the_other() -> None:
    one, other = encode(VOICE, "ogg_opus"), encode(voice(4), "ogg_opus")
    assert decode(one + other).duration_seconds == pytest.approx(2 * SECONDS, abs=0.1)


def test_audio_that_changes_its_channels_midway_is_heard() -> None:
    one, other = encode(VOICE, "mp3"), encode(np.stack([VOICE, VOICE]), "mp3")
    waveform = decode(one + other)
    assert waveform.duration_seconds == pytest.approx(2 * SECONDS, abs=0.3)


def form(bits: int, valid: int, width: int, channels: int = 1, rate: int = RATE) -> bytes:
    """The format chunk of WAVEFORMATEXTENSIBLE with integer samples."""
    block = width * channels
    content = struct.pack("<HHIIHHHHI", 0xFFFE, channels, rate, rate * block, block, bits, 22, valid, 4)
    return content + b"\1\0" + bytes.fromhex("000000001000800000aa00389b71")


def chunks(*parts: tuple[bytes, bytes], name: bytes = b"RIFF", order: str = "<") -> bytes:
    content = b"".join(tag + struct.pack(order + "I", len(data)) + data for tag, data in parts)
    return name + struct.pack(order + "I", len(content) + 4) + b"WAVE" + content


INTEGERS = np.round(VOICE * 32767).astype("<i2")


@pytest.mark.parametrize(
    "data",
    [
        chunks((b"fmt ", form(32, 24, 4)), (b"data", (INTEGERS.astype("<i4") << 16).tobytes())),
        chunks((b"fmt ", form(24, 24, 4)), (b"data", (INTEGERS.astype("<i4") << 16).tobytes())),
        chunks((b"fmt ", form(16, 12, 2)), (b"data", (INTEGERS & ~15).tobytes())),
        chunks(
            (b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, RATE * 4, 4, 24)),
            (b"data", (INTEGERS.astype("<i4") << 16).tobytes()),
        ),
        chunks(
            (b"fmt ", struct.pack(">HHIIHH", 1, 1, RATE, RATE * 2, 2, 16)),
            (b"data", INTEGERS.astype(">i2").tobytes()),
            name=b"RIFX",
            order=">",
        ),
        chunks((b"fmt ", form(16, 16, 2)), (b"data", INTEGERS.tobytes()), name=b"BW64"),
        b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<IQQQI", 28, 0, INTEGERS.nbytes, len(INTEGERS), 0)
        + b"fmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
        + b"data\xff\xff\xff\xff"
        + INTEGERS.tobytes()
        + b"bext"
        + bytes(400),
    ],
    ids=["24 in 32", "24 in 4 bytes", "12 in 16", "24 in 4 bytes without a mask", "RIFX", "BW64", "RF64"],
)
def test_a_kind_of_wav_that_recorders_write_is_heard(data: bytes) -> None:
    waveform = decode(data)
    assert waveform.duration_seconds == SECONDS
    assert likeness(waveform) > 0.999
    assert np.abs(waveform.samples).max() == pytest.approx(0.5, abs=0.01)


def surround(codec: str, container: str, layout: str = "7.1", seconds: float = 1.0) -> bytes:
    """The same voice in all channels of a layout."""
    count = av.AudioLayout(layout).nb_channels
    samples = np.repeat(resample(voice(3, seconds=seconds), RATE, 48_000), count)[None]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options={"strict": "-2"}) as out:
        stream = out.add_stream(codec, rate=48_000, layout=layout, options={"strict": "-2"})
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame) + stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("codec", "container"),
    [("aac", "ipod"), ("libopus", "ogg"), ("libopus", "webm"), ("flac", "flac"), ("pcm_s16le", "wav"),
     ("aac", "mpegts"), ("aac", "adts")],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_a_recording_of_many_channels_is_heard(codec: str, container: str, layout: str) -> None:
    """PyAV looks for the end of a list of planes that has none where there are eight of them."""
    waveform = decode(surround(codec, container, layout), channel="2")
    assert waveform.channels == (8 if layout == "7.1" else 6)
    assert likeness(waveform, voice(3, seconds=1.0)) > 0.9
    if codec != "aac":  # its encoder leaves the low tones alone in one channel
        assert likeness(decode(surround(codec, container, layout)), voice(3, seconds=1.0)) > 0.9


def test_more_pieces_than_a_recording_has_are_refused_before_they_are_decoded() -> None:
    samples = np.tile(resample(VOICE, RATE, 48_000), 40)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono", options={"frame_duration": "2.5"})
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame) + stream.encode(None))
    with pytest.raises(AudioError, match=str(MAX_STEPS)) as caught:
        decode(buffer.getvalue())
    assert caught.value.code == "audio_bomb"


@pytest.mark.parametrize("claimed", [1_000_000, 30_000_000, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_table_of_more_samples_than_the_file_can_hold_is_not_built(claimed: int, size: int) -> None:
    data = bytearray(encode(VOICE, "m4a"))
    for box, offset, value in (
        (b"stsz", 8, size),
        (b"stsz", 12, claimed),
        (b"stts", 12, claimed),
        (b"stsc", 16, claimed),
    ):
        at = data.index(box) + offset
        data[at : at + 4] = struct.pack(">I", value)
    assert code(bytes(data)) == "audio_bomb"
