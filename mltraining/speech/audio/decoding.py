"""Decode whatever a telephone system or a browser sends, from memory and within bounds.

The input is treated as hostile. The container is recognised by its first bytes and opened with that one demuxer, so no
playlist, concat script or reference can make FFmpeg open another file or address. Codecs are a closed list. Decoding
stops at the limit, whatever the header claims.
"""

import io
from collections.abc import Iterator

import av
import numpy as np

from mltraining.speech.audio import channels, containers
from mltraining.speech.audio.channels import MAX_CHANNELS
from mltraining.speech.audio.errors import MIN_SECONDS, AudioError
from mltraining.speech.audio.waveform import Waveform

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000  # Hz
MAX_VALUES_A_SECOND = 384_000  # over all channels: two at 192 kHz, eight at 48 kHz; it bounds the memory
# Below this many bytes a second no speech codec works: what is too long on so few bytes was built to expand.
BOMB_BYTES_PER_SECOND = 50
# A packet or frame, on average; Opus goes down to 0.0025. Less was built to keep the decoder busy: each costs 30 us.
MIN_STEP_SECONDS = 0.001
PROBE_BYTES = "1000000"  # searched for the streams' parameters; FFmpeg's own 5 MB take it over a second
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


def decode(
    data: bytes,
    *,
    max_seconds: float = 120,
    format: str | None = None,
    channel: str | None = None,
    default_channel: str | None = None,
) -> Waveform:
    """Decode one channel of an audio file's bytes; of a video, its audio track.

    ``channel``: ``left``, ``right``, a number from 0 or, to mix all of them, ``mono``. Without it, channels that are
    the same count as one, and of channels that differ ``default_channel`` is taken. ``format`` names a headerless
    stream (a key of HEADERLESS). Memory stays within ``max_seconds`` * MAX_VALUES_A_SECOND * 4 bytes, twice over while
    the pieces are joined.

    Raises AudioError with one of the codes in MESSAGES; ChannelRequired where channels differ and none is named.
    """
    if not data:
        raise AudioError("empty_audio")
    if format is not None and format not in HEADERLESS:
        raise AudioError("not_audio", f"{format!r} is not a headerless format. Give one of {', '.join(HEADERLESS)}.")
    demuxer = format or containers.sniff(data)
    if demuxer is None:
        raise AudioError("not_audio")
    try:
        planes, decoded = _decode(data, demuxer, max_seconds)
    except (av.FFmpegError, MemoryError, OverflowError, UnicodeError) as error:
        # The first bytes were those of an audio file, so what follows is damaged.
        raise AudioError("truncated_audio") from error
    if decoded.duration_seconds < MIN_SECONDS:
        raise AudioError("audio_too_short" if len(decoded.samples) else "empty_audio")
    waveform = channels.choose(planes, decoded, channel, default_channel)
    if channels.is_silent(waveform.samples):
        raise AudioError("silent_audio")
    return waveform


def _decode(data: bytes, demuxer: str, max_seconds: float) -> tuple[list[np.ndarray], Waveform]:
    """The channels, (n,) each, and the first of them with what is known of the file."""
    declared_share = containers.declared_share(data, demuxer)
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
        rate, count = 0, 0
        for frame, consumed in _frames(container, stream, demuxer):
            _check_shape(frame.sample_rate, frame.layout.nb_channels)
            if rate and frame.sample_rate != rate:
                raise AudioError("truncated_audio", "The audio changes its sample rate midway.")
            rate = frame.sample_rate
            pieces.append(_planes(frame))
            if len(pieces[-1]) != len(pieces[0]):
                raise AudioError("truncated_audio", "The audio changes its number of channels midway.")
            count += pieces[-1].shape[1]
            if count > (max_seconds + LIMIT_SLACK_SECONDS) * rate:
                built = consumed < max_seconds * BOMB_BYTES_PER_SECOND
                raise AudioError("audio_bomb" if built else "audio_too_long", max_seconds=max_seconds)
        decoded = count / rate if rate else 0.0
        declared = max(decoded * declared_share, containers.declared_seconds(data, demuxer, container, stream))
        if declared - decoded > max(SHORTFALL_SECONDS, SHORTFALL_SHARE * declared):
            raise AudioError("truncated_audio")
        planes = list(np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), dtype=np.float32))
        codec = context.codec.canonical_name
        return planes, Waveform(planes[0], rate or MIN_SAMPLE_RATE, demuxer, codec, len(planes))


def _refuse(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError("an audio file opens no other file")


def _check_shape(sample_rate: int, channels: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError("audio_bomb", f"A sample rate of {sample_rate} Hz is not that of a recording of speech.")
    if channels > MAX_CHANNELS:
        raise AudioError("audio_bomb", f"The audio has {channels} channels; at most {MAX_CHANNELS} are read.")
    if sample_rate * channels > MAX_VALUES_A_SECOND:
        detail = f"{channels} channels of {sample_rate} Hz are more than the {MAX_VALUES_A_SECOND} values a second"
        raise AudioError("audio_bomb", f"{detail} that are read.")


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


def _planes(frame: av.AudioFrame) -> np.ndarray:
    """(channels, n) float32 in [-1, 1]."""
    values = frame.to_ndarray()  # (channels, n), or interleaved (1, n * channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "u":
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / 2.0 ** (8 * values.dtype.itemsize - 1)
    with np.errstate(over="ignore"):
        planes = values.astype(np.float32)
    if not np.isfinite(planes).all():
        raise AudioError("invalid_samples")
    return np.clip(planes, -1, 1)
