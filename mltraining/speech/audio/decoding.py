"""Decode whatever a telephone system or a browser sends, from memory and within bounds.

The input is treated as hostile. The container is recognised by its first bytes and opened with that one demuxer, so no
playlist, concat script or reference can make FFmpeg open another file or address. Codecs are a closed list. Decoding
stops at the limit, whatever the header claims. Where callers send the input, ``isolation`` runs this in a process of
its own, because a decoder in C can still crash; not where the samples are ``plain`` and no such decoder is needed.
"""

import errno
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av.audio.plane import AudioPlane

from mltraining.speech.audio import channels, containers, plain
from mltraining.speech.audio.channels import MAX_CHANNELS
from mltraining.speech.audio.containers import Container
from mltraining.speech.audio.errors import MIN_SECONDS, AudioError
from mltraining.speech.audio.waveform import Waveform, resample

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000  # Hz
MAX_VALUES_A_SECOND = 384_000  # over all channels: two at 192 kHz, eight at 48 kHz; it bounds the memory
# Below this many bytes a second no speech codec works: what is too long on so few bytes was built to expand.
BOMB_BYTES_PER_SECOND = 50
# A packet or frame, on average; Opus goes down to 0.0025. Less was built to keep the decoder busy: each costs 30 us.
MIN_STEP_SECONDS = 0.001
# More packets or frames than this take too long: those of 119 s of Opus are 6,000, or 48,000 of 2.5 ms each.
MAX_STEPS = 20_000
STEPS_TO_JUDGE = 1000  # before a file is judged by them
MAX_STRETCHES = 16  # of other rates or channels; HE-AAC begins with a frame at half its rate
PROBE_BYTES = "1000000"  # searched for the streams' parameters; FFmpeg's own 5 MB take it over a second
MP3_MISSING_FRAMES = 3  # may be missing at the end of an mp3: the last ones are often cut
LIMIT_SLACK_SECONDS = 0.1  # codecs pad the last frame
SHORTFALL_SHARE = 0.01  # of the audio may be missing at the end; more is truncated, and is said
MOST_MISSING_SHARE = 0.25  # with more the file is refused: most of the call may be what is missing
FAILED_SHARE, FAILED_PACKETS = 0.02, 2  # that may be damaged, and are left out; players do the same

# What the caller must name, because the bytes say nothing: demuxer and its options.
HEADERLESS: dict[str, tuple[str, dict[str, str]]] = {
    "mulaw": ("mulaw", {"sample_rate": "8000"}),
    "alaw": ("alaw", {"sample_rate": "8000"}),
    "s16le": ("s16le", {"sample_rate": "8000"}),
    "s16le-16000": ("s16le", {"sample_rate": "16000"}),
    "s16be": ("s16be", {"sample_rate": "8000"}),
    "s16be-16000": ("s16be", {"sample_rate": "16000"}),
    "g722": ("g722", {}),
    "gsm": ("gsm", {}),
}
# Else taken from the header's byte rate, which sloppy and hostile writers get wrong.
# A wav is written anew, so its first bytes tell everything; FFmpeg would search it for DTS, which takes milliseconds.
DEMUXER_OPTIONS: dict[str, dict[str, str]] = {"wav": {"max_size": "4096", "probesize": "2048"}}
# Streams of bare frames: a cut through the first or the last one is how they are recorded, not a loss.
BARE_FRAMES = {"mp3", "aac", "amr", "mpegts"}
CODECS = (
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_u8,"
    "pcm_s8,pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_yamaha,adpcm_g722,g722,adpcm_g726,g726,"
    "adpcm_g726le,g726le,g723_1,g729,gsm,gsm_ms,truespeech,opus,libopus,vorbis,libvorbis,speex,libspeex,mp3float,mp3,"
    "mp2float,mp2,aac,aac_latm,ac3,eac3,alac,flac,amrnb,amrwb,amr_nb,amr_wb,libopencore_amrnb,libopencore_amrwb,"
    "wmav1,wmav2,wmavoice"
)
DTYPES = {"u8": "u1", "s16": "<i2", "s32": "<i4", "flt": "<f4", "dbl": "<f8"}  # FFmpeg's sample formats, little-endian


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
    stream (a key of HEADERLESS); a file with the first bytes of a container is read as that. Memory stays within
    ``max_seconds`` * MAX_VALUES_A_SECOND * 4 bytes, and that of one channel more while the pieces are joined.

    Raises AudioError with one of the codes in MESSAGES; ChannelRequired where channels differ and none is named.
    """
    if not data:
        raise AudioError("empty_audio")
    if format is not None and format not in HEADERLESS:
        raise AudioError("not_audio", f"{format!r} is not a headerless format. Give one of {', '.join(HEADERLESS)}.")
    try:
        source, options = _source(data, format)
        if (samples := plain.find(source, options)) is not None:
            planes, decoded = _plain(samples, source, max_seconds)
        else:
            planes, decoded = _decode(source, options, max_seconds)
    except (av.FFmpegError, MemoryError, OverflowError, UnicodeError) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", 0) == errno.ENOMEM:
            raise AudioError("audio_bomb", "Decoding the file takes more memory than a recording does.") from error
        # The first bytes were those of an audio file, so what follows is damaged.
        raise AudioError("truncated_audio") from error
    if decoded.duration_seconds < MIN_SECONDS:
        raise AudioError("audio_too_short" if len(decoded.samples) else "empty_audio")
    waveform = channels.choose(planes, decoded, channel, default_channel)
    if channels.is_silent(waveform.samples):
        raise AudioError("silent_audio")
    return waveform


def is_plain(data: bytes, format: str | None = None) -> bool:
    """Whether ``decode`` needs no decoder in C for this file. It looks into nothing but a wav."""
    is_bare = format in HEADERLESS and not containers.is_unmistakable(data)
    if not is_bare and not (data.startswith(b"RIFF") and containers.sniff(data) == "wav"):
        return False
    try:
        return plain.find(*_source(data, format)) is not None
    except AudioError:
        return False  # ``decode`` tells the reason


def _plain(samples: plain.Plain, source: Container, max_seconds: float) -> tuple[list[np.ndarray], Waveform]:
    if samples.seconds > max_seconds + LIMIT_SLACK_SECONDS:
        raise AudioError("audio_too_long", max_seconds=max_seconds)
    planes, truncated = samples.planes(), source.missing > SHORTFALL_SHARE
    return planes, Waveform(planes[0], samples.rate, source.demuxer, samples.codec, len(planes), truncated=truncated)


def _source(data: bytes, format: str | None) -> tuple[Container, dict[str, str]]:
    """The container, and the options of its demuxer."""
    if format is not None and not containers.is_unmistakable(data):
        demuxer, options = HEADERLESS[format]
        return Container(demuxer, data), options
    container = containers.recognise(data)
    if container is None:
        raise AudioError("not_audio")
    if container.missing > MOST_MISSING_SHARE:
        raise AudioError("truncated_audio")
    return container, DEMUXER_OPTIONS.get(container.demuxer, {})


def _decode(
    source: Container, demuxer_options: dict[str, str], max_seconds: float
) -> tuple[list[np.ndarray], Waveform]:
    """The channels, (n,) each, and the first of them with what is known of the file."""
    options = {
        "codec_whitelist": CODECS,
        "protocol_whitelist": "none",
        "probesize": PROBE_BYTES,
        **demuxer_options,
    }
    with av.open(
        io.BytesIO(source.data), "r", format=source.demuxer, options=options, metadata_errors="ignore", io_open=_refuse
    ) as container:
        if not container.streams.audio:
            raise AudioError("not_audio", "The file has no audio track.")
        stream = container.streams.audio[0]
        context = stream.codec_context
        if context is None or context.codec.name not in CODECS.split(","):
            raise AudioError("not_audio", "The audio's codec is not read here.")
        context.thread_count = 1
        _check_shape(context.sample_rate or MIN_SAMPLE_RATE, context.channels or 1)

        stretches: list[_Stretch] = []
        seconds, frames = 0.0, _Frames(container, stream, source)
        for frame in frames:
            _check_shape(frame.sample_rate, frame.layout.nb_channels)
            if not stretches or not stretches[-1].takes(frame):
                stretches.append(_Stretch(frame.sample_rate, frame.layout.nb_channels, frame.format.name))
            stretches[-1].append(frame)
            seconds += frame.samples / frame.sample_rate
            if seconds > max_seconds + LIMIT_SLACK_SECONDS:
                built = frames.consumed < max_seconds * BOMB_BYTES_PER_SECOND
                raise AudioError("audio_bomb" if built else "audio_too_long", max_seconds=max_seconds)
            if len(stretches) > MAX_STRETCHES:
                raise AudioError("audio_bomb", f"The audio changes its form more than {MAX_STRETCHES} times.")
        missing = max(source.missing, _missing(source, stream, frames.packets, seconds))
        if missing > MOST_MISSING_SHARE:
            raise AudioError("truncated_audio")
        planes, rate = _joined(stretches)
        codec = context.codec.canonical_name
        truncated = missing > SHORTFALL_SHARE
        return planes, Waveform(planes[0], rate, source.demuxer, codec, len(planes), truncated=truncated)


def _missing(source: Container, stream: av.AudioStream, packets: int, seconds: float) -> float:
    """The share of the audio that a header counts and the file lacks. A duration is no count: it goes by the clock."""
    if source.demuxer == "flac" and stream.duration and stream.time_base:
        return 1 - seconds / float(stream.duration * stream.time_base)
    if source.demuxer == "mp3":
        declared = containers.declared_frames(source.data)
        return (declared - packets) / declared if declared - packets > MP3_MISSING_FRAMES else 0.0
    return 0.0


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


class _Frames:
    """Decoded frames; ``packets`` and ``consumed`` count the packets up to the present one, and their bytes.

    A packet that does not decode is left out. Raises ``av.FFmpegError`` where these are many. In a stream of bare
    frames the first one does not count, nor what stands behind the last one that decodes.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream, source: Container) -> None:
        self._packets, self._is_bare, self._size = (
            container.demux(stream),
            source.demuxer in BARE_FRAMES,
            len(source.data),
        )
        self.packets = self.consumed = 0

    def __iter__(self) -> Iterator[av.AudioFrame]:
        failures: list[tuple[int, av.FFmpegError]] = []
        frames, seconds, last = 0, 0.0, 0
        for packet in self._demuxed():
            self.packets += bool(packet.size)
            self.consumed += packet.size
            try:
                for frame in packet.decode():
                    frames += 1
                    seconds += frame.samples / max(frame.sample_rate, 1)
                    last = self.packets
                    if frame.samples:
                        yield frame
            except av.FFmpegError as error:
                failures.append((self.packets, error))
            steps = max(self.packets, frames)
            whole = steps * self._size / max(1, self.consumed)  # how many there will be
            if steps > MAX_STEPS or (
                steps >= STEPS_TO_JUDGE and (seconds < steps * MIN_STEP_SECONDS or whole > 1.5 * MAX_STEPS)
            ):
                raise AudioError("audio_bomb", f"The audio comes in too many pieces: at most {MAX_STEPS} are read.")
        if self._is_bare:
            failures = [(number, error) for number, error in failures if 1 < number < last]
        if failures and len(failures) > max(min(FAILED_PACKETS, frames // 10), FAILED_SHARE * self.packets):
            raise failures[0][1]

    def _demuxed(self) -> "Iterator[av.Packet[av.AudioStream]]":
        try:
            yield from self._packets
        except av.FFmpegError:
            if not self._is_bare or not self.packets:
                raise


@dataclass
class _Stretch:
    """Audio of one sample rate (Hz), number of channels and sample format (FFmpeg's name)."""

    rate: int
    channels: int
    format: str
    pieces: list[bytes] = field(default_factory=list)  # of each frame: its only plane, or those of all channels in turn

    def takes(self, frame: av.AudioFrame) -> bool:
        return (frame.sample_rate, frame.layout.nb_channels, frame.format.name) == (
            self.rate,
            self.channels,
            self.format,
        )

    def append(self, frame: av.AudioFrame) -> None:
        # ``frame.planes`` and ``frame.to_ndarray`` look for the first null pointer, and find none behind the eighth.
        planar = frame.format.is_planar
        size = frame.samples * frame.format.bytes * (1 if planar else self.channels)
        for number in range(self.channels if planar else 1):
            self.pieces.append(bytes(memoryview(AudioPlane(frame, number))[:size]))

    def planes(self) -> list[np.ndarray]:
        """(n,) float32 in [-1, 1] of each channel. It forgets the pieces, to save memory."""
        dtype = np.dtype(DTYPES[self.format.removesuffix("p")])
        if not self.format.endswith("p"):
            values = np.frombuffer(b"".join(self.pieces), dtype=dtype)
            self.pieces.clear()
            return [_in_unit(values[number :: self.channels]) for number in range(self.channels)]
        found = []
        for number in range(self.channels):
            found.append(_in_unit(np.frombuffer(b"".join(self.pieces[number :: self.channels]), dtype=dtype)))
            for place in range(number, len(self.pieces), self.channels):
                self.pieces[place] = b""
        return found


def _in_unit(values: np.ndarray) -> np.ndarray:
    """(n,) float32 in [-1, 1] of samples in any of FFmpeg's formats."""
    if values.dtype.kind == "u":
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
    with np.errstate(over="ignore"):
        plane = values.astype(np.float32)
    if not np.isfinite(plane).all():
        raise AudioError("invalid_samples")
    return np.clip(plane, -1, 1, out=plane)


def _joined(stretches: list[_Stretch]) -> tuple[list[np.ndarray], int]:
    """All channels, (n,) float32 each, and their rate: those of the longest stretch. Others are made like it.

    A stretch with other channels is mixed, and heard in all of them.
    """
    if not stretches:
        return [np.zeros(0, dtype=np.float32)], MIN_SAMPLE_RATE
    planes = [stretch.planes() for stretch in stretches]
    longest = max(range(len(stretches)), key=lambda number: len(planes[number][0]) / stretches[number].rate)
    rate, count = stretches[longest].rate, stretches[longest].channels
    for number, stretch in enumerate(stretches):
        if stretch.channels != count:
            planes[number] = [channels.mix(planes[number], stretch.rate)] * count
        planes[number] = [resample(plane, stretch.rate, rate) for plane in planes[number]]
    if len(planes) == 1:
        return planes[0], rate
    return [np.concatenate(pieces) for pieces in zip(*planes, strict=True)], rate
