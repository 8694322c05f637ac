"""Decoding of whatever a telephone system or a browser sends, from memory, within bounds.

The input is hostile until it is decoded. The container is told from its first bytes and opened with that one
demuxer, so no playlist, concat script or reference makes FFmpeg open another file or address; codecs are a
closed list; and decoding stops at the limit, whatever the header claims.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import av
import numpy as np

MIN_SECONDS = 0.1
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000  # Hz
MAX_CHANNELS = 8
SILENCE_PEAK = 1e-4  # -80 dBFS, after the direct current is taken off (silent A-law is a constant)
# Below this many bytes a second no speech codec works: what is too long on so few bytes was built to expand.
BOMB_BYTES_PER_SECOND = 50
# A packet or frame, on average; Opus goes down to 0.0025. Less was built to keep the decoder busy: each costs 30 us.
MIN_STEP_SECONDS = 0.001
PROBE_BYTES = "1000000"  # searched for the streams' parameters; FFmpeg's own 5 MB take it over a second
MAX_CHUNKS = 1000  # of metadata in a wav, aiff or caf
LIMIT_SLACK_SECONDS = 0.1  # codecs pad the last frame
SHORTFALL_SECONDS, SHORTFALL_SHARE = 0.1, 0.01  # below what the header declares: truncated

# What the caller must name, because the bytes say nothing: demuxer and its options.
HEADERLESS: dict[str, dict[str, str]] = {
    "mulaw": {"sample_rate": "8000"},
    "alaw": {"sample_rate": "8000"},
    "s16le": {"sample_rate": "8000"},
    "g722": {},
    "gsm": {},
}
# Else taken from the header's byte rate, which sloppy and hostile writers get wrong.
DEMUXER_OPTIONS: dict[str, dict[str, str]] = HEADERLESS | {"wav": {"max_size": "4096"}}
# Streams of bare frames: a cut through the first or the last one is how they are recorded, not a loss.
BARE_FRAMES = {"mp3", "aac", "amr"}
CODECS = (
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_u8,"
    "pcm_s8,pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,adpcm_g722,g722,adpcm_g726,g726,gsm,gsm_ms,opus,libopus,"
    "vorbis,libvorbis,speex,libspeex,mp3float,mp3,mp2float,mp2,aac,aac_latm,alac,flac,amrnb,amrwb,amr_nb,amr_wb,"
    "libopencore_amrnb,libopencore_amrwb"
)

MESSAGES = {
    "empty_audio": "The file holds no audio.",
    "not_audio": "The file is not audio in a format that is read here.",
    "truncated_audio": "The audio is damaged, or ends before its declared end.",
    "audio_too_long": "The audio is longer than {max_seconds:g} seconds.",
    "audio_too_short": f"The audio is shorter than {MIN_SECONDS} seconds.",
    "silent_audio": "The audio is silent.",
    "invalid_samples": "The audio holds samples that are not numbers.",
    "audio_bomb": "The file is built to cost far more than a recording of its size does.",
}


class AudioError(ValueError):
    """Audio that cannot be used. ``code`` is one of MESSAGES' keys; the message is for people."""

    def __init__(self, code: str, detail: str = "", *, max_seconds: float = 0) -> None:
        self.code = code
        super().__init__(detail or MESSAGES[code].format(max_seconds=max_seconds))


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono audio. ``samples``: float32 (n,) in [-1, 1]; ``sample_rate`` in Hz and ``channels`` are the file's own."""

    samples: np.ndarray
    sample_rate: int
    container: str = "memory"
    codec: str = "pcm"
    channels: int = 1

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate


def decode(data: bytes, *, max_seconds: float = 120, format: str | None = None) -> Waveform:
    """Decode an audio file's bytes to mono; of a video, its audio track. Channels are averaged.

    ``format`` names a headerless stream (a key of HEADERLESS). Memory stays within
    ``max_seconds`` * sample rate * 4 bytes, twice over while the pieces are joined.

    Raises AudioError with one of the codes in MESSAGES.
    """
    if not data:
        raise AudioError("empty_audio")
    if format is not None and format not in HEADERLESS:
        raise AudioError("not_audio", f"No headerless format is called {format!r}; known: {', '.join(HEADERLESS)}.")
    demuxer = format or sniff(data)
    if demuxer is None:
        raise AudioError("not_audio")
    try:
        waveform = _decode(data, demuxer, max_seconds)
    except (av.FFmpegError, MemoryError, OverflowError, UnicodeError) as error:
        # The first bytes were those of an audio file, so what follows is damaged.
        raise AudioError("truncated_audio") from error
    if waveform.duration_seconds < MIN_SECONDS:
        raise AudioError("audio_too_short" if len(waveform.samples) else "empty_audio")
    if np.abs(waveform.samples - waveform.samples.mean()).max() < SILENCE_PEAK:
        raise AudioError("silent_audio")
    return waveform


def resample(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Band-limited resampling (windowed sinc): (n,) float32 at ``source`` Hz to (ceil(n * target / source),)."""
    if source == target or not len(samples):
        return samples
    resampler = av.AudioResampler(format="flt", layout="mono", rate=target, options={"filter_size": "64"})
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples, dtype=np.float32)[None], format="flt", layout="mono"
    )
    frame.sample_rate = source
    pieces = [piece.to_ndarray()[0] for piece in (*resampler.resample(frame), *resampler.resample(None))]
    length = -(-len(samples) * target // source)
    resampled = np.zeros(length, dtype=np.float32)
    joined = np.concatenate(pieces)[:length] if pieces else resampled
    resampled[: len(joined)] = joined
    return resampled


def sniff(data: bytes) -> str | None:
    """FFmpeg's name of the one demuxer that the first bytes call for, or None where they are no audio's."""
    head = data[:12]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    for magic, demuxer in MAGIC.items():
        if head.startswith(magic):
            return demuxer
    if len(head) > 1 and head[0] == 0xFF:
        layer = head[1] >> 1 & 3  # 0: ADTS; 1, 2: MPEG layers III and II
        if head[1] & 0xF0 == 0xF0 and layer == 0:
            return "aac"
        if head[1] & 0xE0 == 0xE0 and layer in (1, 2):
            return "mp3"
    return None


# Of files made of chunks: where the first begins, how sizes are written, and which chunk holds the audio.
CHUNKED: dict[str, tuple[int, Literal["little", "big"], int, bytes]] = {
    "wav": (12, "little", 4, b"data"),
    "aiff": (12, "big", 4, b"SSND"),
    "caf": (8, "big", 8, b"data"),
}
MAGIC = {
    b"OggS": "ogg",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"fLaC": "flac",
    b"ID3": "mp3",
    b"#!AMR": "amr",
    b".snd": "au",
    b"caff": "caf",
}


def _decode(data: bytes, demuxer: str, max_seconds: float) -> Waveform:
    declared_share = _declared_share(data, demuxer)
    options = {
        "codec_whitelist": CODECS,
        "protocol_whitelist": "none",
        "probesize": PROBE_BYTES,
        **DEMUXER_OPTIONS.get(demuxer, {}),
    }
    with av.open(
        io.BytesIO(data), "r", format=demuxer, options=options, metadata_errors="ignore", io_open=_refuse
    ) as container:
        if not container.streams.audio:
            raise AudioError("not_audio", "The file has no audio track.")
        stream = container.streams.audio[0]
        context = stream.codec_context
        if context is None or context.codec.name not in CODECS.split(","):
            raise AudioError("not_audio", "The audio's codec is not read here.")
        context.thread_count = 1
        _check_shape(context.sample_rate or MIN_SAMPLE_RATE, context.channels or 1)

        pieces: list[np.ndarray] = []
        rate, channels, count = 0, 0, 0
        for frame, consumed in _frames(container, stream, demuxer):
            _check_shape(frame.sample_rate, frame.layout.nb_channels)
            if rate and frame.sample_rate != rate:
                raise AudioError("truncated_audio", "The audio changes its sample rate midway.")
            rate, channels = frame.sample_rate, max(channels, frame.layout.nb_channels)
            pieces.append(_mono(frame))
            count += len(pieces[-1])
            if count > (max_seconds + LIMIT_SLACK_SECONDS) * rate:
                built = consumed < max_seconds * BOMB_BYTES_PER_SECOND
                raise AudioError("audio_bomb" if built else "audio_too_long", max_seconds=max_seconds)
        decoded = count / rate if rate else 0.0
        declared = max(decoded * declared_share, _declared_seconds(data, demuxer, container, stream))
        if declared - decoded > max(SHORTFALL_SECONDS, SHORTFALL_SHARE * declared):
            raise AudioError("truncated_audio")
        samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
        return Waveform(samples, rate or MIN_SAMPLE_RATE, demuxer, context.codec.canonical_name, channels or 1)


def _refuse(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError("an audio file opens no other file")


def _check_shape(sample_rate: int, channels: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError("audio_bomb", f"A sample rate of {sample_rate} Hz is not that of a recording of speech.")
    if channels > MAX_CHANNELS:
        raise AudioError("audio_bomb", f"The audio has {channels} channels; at most {MAX_CHANNELS} are read.")


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, demuxer: str
) -> Iterator[tuple[av.AudioFrame, int]]:
    """Decoded frames, each with the number of bytes that the packets up to it hold.

    A packet that does not decode raises, save the first and the last of a stream of bare frames.
    """
    failed: av.FFmpegError | None = None
    consumed, frames, seconds = 0, 0, 0.0
    for number, packet in enumerate(container.demux(stream)):
        if failed and packet.size:
            raise failed
        consumed += packet.size
        try:
            for frame in packet.decode():
                frames += 1
                seconds += frame.samples / max(frame.sample_rate, 1)
                yield frame, consumed
        except av.FFmpegError as error:
            if demuxer not in BARE_FRAMES:
                raise
            failed = error if number else None
        steps = max(number, frames)
        if steps >= 1000 and seconds < steps * MIN_STEP_SECONDS:
            raise AudioError("audio_bomb")


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(n,) float32 in [-1, 1], the channels' mean."""
    values = frame.to_ndarray()  # (channels, n), or interleaved (1, n * channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "u":
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / 2.0 ** (8 * values.dtype.itemsize - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mono = values.mean(axis=0).astype(np.float32)
    if not np.isfinite(mono).all():
        raise AudioError("invalid_samples")
    return np.clip(mono, -1, 1)


def _declared_seconds(
    data: bytes, demuxer: str, container: av.container.InputContainer, stream: av.AudioStream
) -> float:
    """How long the header says the audio is; 0 where it is unknown, as in a recording made while it was sent."""
    context = stream.codec_context
    if demuxer == "mp3":
        at = max(data.find(b"Xing", 0, 1 << 16), data.find(b"Info", 0, 1 << 16))
        if at < 0 or not data[at + 7] & 1:
            return 0.0  # FFmpeg's duration is a guess from the bit rate
        samples_per_frame = 1152 if context.sample_rate >= 32_000 else 576
        return int.from_bytes(data[at + 8 : at + 12], "big") * samples_per_frame / context.sample_rate
    if demuxer == "matroska":
        return (container.duration or 0) / av.time_base
    if demuxer in ("flac", "mov", "au", "aiff") and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0


def _declared_share(data: bytes, demuxer: str) -> float:
    """By how much the audio's bytes that the file declares exceed those that it holds; 1 where they do not.

    Raises AudioError where the file ends within its structure. FFmpeg quietly corrects a wrong size of a data chunk,
    and spends seconds in a chunk of metadata that claims gigabytes.
    """
    if demuxer == "ogg" and not _ogg_is_whole(data):
        raise AudioError("truncated_audio")
    if demuxer not in CHUNKED:
        return 1.0
    at, order, width, audio = CHUNKED[demuxer]
    share, chunks = 1.0, 0
    while at + 4 + width <= len(data):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise AudioError("audio_bomb")
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 4 + width], order)
        at += 4 + width
        if name == audio:
            if size == 0 or size >= 0x7FFF0000:  # what recorders write before they know
                return 1.0
            share = max(1.0, size / max(1, len(data) - at))
        elif size > len(data) - at:
            raise AudioError("truncated_audio")
        at += size + (size % 2 if demuxer != "caf" else 0)  # to an even address
    return share


def _ogg_is_whole(data: bytes) -> bool:
    """Whether the last Ogg page is complete (RFC 3533). A missing end-of-stream flag is left to live recorders."""
    at = 0
    while at < len(data) and data[at : at + 4] == b"OggS":
        if at + 27 > len(data):
            return False
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return at <= len(data)
