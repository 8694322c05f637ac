"""The telephone channel, simulated: pass band, codec, and what a bad line does. 8 kHz throughout."""

from functools import cache
from typing import Literal

import av
import numpy as np

RATE = 8000  # Hz
FRAME = 160  # samples; 20 ms, what one packet carries
PASS_BAND = (300.0, 3400.0)  # Hz, ITU-T G.712

Codec = Literal["mulaw", "alaw", "gsm", "amr", "opus"]
CODECS: tuple[Codec, ...] = ("mulaw", "alaw", "gsm", "amr", "opus")

# kbit/s. PyAV has no encoder of GSM 06.10 full rate: the enhanced full rate (GSM 06.60), which AMR-NB has as its mode
# 12.2, stands for a GSM call; "amr" is a congested cell's mode 7.95.
AMR_RATE = {"gsm": 12_200, "amr": 7_950}
OPUS_RATE = 12_000


def transmit(samples: np.ndarray, codec: Codec, *, random: np.random.Generator | None = None) -> np.ndarray:
    """A call's far end: (n,) float32 in [-1, 1] at 8 kHz -> the same, through the pass band and the codec.

    With ``random`` the pass band's edges vary, as between handsets (200 to 400 and 3,000 to 3,600 Hz).
    """
    low, high = PASS_BAND
    if random is not None:
        low, high = random.uniform(200, 400), random.uniform(3000, 3600)
    return through_codec(band_pass(samples, low, high), codec)


def through_codec(samples: np.ndarray, codec: Codec) -> np.ndarray:
    """Encode and decode: (n,) float32 at 8 kHz -> (n,) float32."""
    match codec:
        case "mulaw":
            return _mu_law(samples)
        case "alaw":
            return _a_law(samples)
        case "gsm" | "amr":
            return _amr(samples, AMR_RATE[codec])
        case "opus":
            return _opus(samples, OPUS_RATE)
    raise ValueError(f"no codec is called {codec!r}; known: {', '.join(CODECS)}")


def band_pass(samples: np.ndarray, low: float, high: float, *, edge: float = 60.0) -> np.ndarray:
    """Zero-phase, with raised-cosine edges ``edge`` Hz wide: (n,) -> (n,) float32."""
    size = len(samples) + RATE // 10  # what rings at the end does not wrap around to the start
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    rising = np.clip((hertz - low) / edge + 0.5, 0, 1)
    falling = np.clip((high - hertz) / edge + 0.5, 0, 1)
    gain = np.sin(0.5 * np.pi * rising) ** 2 * np.sin(0.5 * np.pi * falling) ** 2
    return np.fft.irfft(np.fft.rfft(samples, size) * gain, size)[: len(samples)].astype(np.float32)


def lose_packets(samples: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Each 20 ms packet is lost with probability ``share``, and the one before it repeated at half its level."""
    heard = samples.copy()
    for number in np.flatnonzero(random.random(len(samples) // FRAME) < share):
        start = number * FRAME
        heard[start : start + FRAME] = 0 if number == 0 else 0.5 * heard[start - FRAME : start]
    return heard


def _mu_law(samples: np.ndarray) -> np.ndarray:
    """ITU-T G.711 mu-law to the letter: 13-bit magnitude, eight segments of sixteen steps."""
    pcm = np.clip(np.round(samples * 8192), -8192, 8191).astype(np.int32)
    magnitude = np.minimum(np.abs(pcm), 8158) + 33
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    step = magnitude >> (segment + 1) & 15
    decoded = ((step << 1) + 33 << segment) - 33
    return (np.sign(pcm) * decoded / 8192).astype(np.float32)


def _a_law(samples: np.ndarray) -> np.ndarray:
    """ITU-T G.711 A-law to the letter: 12-bit magnitude, eight segments of sixteen steps, the lowest two alike."""
    pcm = np.clip(np.round(samples * 4096), -4096, 4095).astype(np.int32)
    magnitude = np.abs(pcm)
    magnitude = np.minimum(magnitude, 4095)
    shift = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 1)
    decoded = (magnitude >> shift << shift) + (1 << shift - 1)
    return (np.where(pcm < 0, -decoded, decoded) / 4096).astype(np.float32)


def _amr(samples: np.ndarray, bit_rate: int) -> np.ndarray:
    encoder = _context("libopencore_amrnb", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16", bit_rate
    return _code(samples, encoder, _context("amrnb", "r"), RATE, delay=40)


def _opus(samples: np.ndarray, bit_rate: int) -> np.ndarray:
    encoder = _context("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16", bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20"}
    encoder.open()
    decoder = _context("opus", "r")
    decoder.extradata = encoder.extradata
    return _code(samples, encoder, decoder, 48_000, delay=0)  # the decoder skips what its header tells it to


def _context(codec: str, mode: Literal["r", "w"]) -> av.AudioCodecContext:
    context = av.CodecContext.create(codec, mode)
    assert isinstance(context, av.AudioCodecContext)
    return context


def _code(
    samples: np.ndarray, encoder: av.AudioCodecContext, decoder: av.AudioCodecContext, rate: int, delay: int
) -> np.ndarray:
    """``delay``: of the codec, in samples at 8 kHz; it is taken out again."""
    count = -(-(len(samples) + delay) // FRAME) + 1
    pcm = np.zeros(count * FRAME, dtype=np.int16)
    pcm[: len(samples)] = np.clip(np.round(samples * 32767), -32768, 32767)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    pieces = []
    for number in range(count + 1):
        frame = None
        if number < count:
            frame = av.AudioFrame.from_ndarray(pcm[None, number * FRAME : (number + 1) * FRAME], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, number * FRAME
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                decoded.sample_rate = rate
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(decoded)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    heard = np.concatenate(pieces)[delay : delay + len(samples)]
    return np.pad(heard, (0, len(samples) - len(heard))).astype(np.float32)


@cache
def has_encoder(codec: Codec) -> bool:
    """Whether this PyAV can encode it: wheels on other machines may lack AMR."""
    try:
        through_codec(np.zeros(RATE // 10, dtype=np.float32), codec)
    except (av.FFmpegError, ValueError):
        return False
    return True
