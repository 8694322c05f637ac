"""The telephone channel, simulated: pass band, codec and lost packets. All samples are at 8 kHz."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

import av
import numpy as np

RATE = 8000  # Hz
FRAME = 160  # samples; 20 ms, what one packet carries
PASS_BAND = (300.0, 3400.0)  # Hz, ITU-T G.712
LOW_EDGE, HIGH_EDGE = (150.0, 400.0), (2800.0, 3700.0)  # Hz; the range of the pass band's edges among handsets
EDGE_WIDTH = (40.0, 250.0)  # Hz; the range of how steep they are
AMR_RATES = (4_750, 5_150, 5_900, 6_700, 7_400, 7_950, 10_200, 12_200)  # bit/s
OPUS_RATES = (6_000, 8_000, 12_000, 16_000, 24_000)  # bit/s

Codec = Literal["mulaw", "alaw", "gsm", "amr", "opus"]
CODECS: tuple[Codec, ...] = ("mulaw", "alaw", "gsm", "amr", "opus")


@dataclass(frozen=True)
class _Coding:
    """How FFmpeg codes speech for one kind of line."""

    encoder: str
    decoder: str
    bit_rate: int | None = None  # bit/s
    rate: int = RATE  # Hz, of the decoder's output
    delay: int = 0  # samples at 8 kHz, of the codec; they are taken out again
    framed: bool = True  # whether the encoder takes 20 ms at a time, or any length
    options: dict[str, str] = field(default_factory=dict)


# FFmpeg's G.711 quantises speech as well as an implementation of the standard to the letter did before it: 0.1 dB more
# signal to noise for mu-law, 0.4 dB more for A-law, on 40 clips.
# PyAV has no encoder of GSM 06.10 full rate. The enhanced full rate (GSM 06.60), which is AMR-NB's mode 12.2, stands
# for a GSM call; "amr" is the mode 7.95 of a congested cell.
_CODINGS: dict[Codec, _Coding] = {
    "mulaw": _Coding("pcm_mulaw", "pcm_mulaw", framed=False),  # ITU-T G.711
    "alaw": _Coding("pcm_alaw", "pcm_alaw", framed=False),
    "gsm": _Coding("libopencore_amrnb", "amrnb", bit_rate=12_200, delay=40),
    "amr": _Coding("libopencore_amrnb", "amrnb", bit_rate=7_950, delay=40),
    # The Opus decoder skips the codec's delay by itself.
    "opus": _Coding(
        "libopus", "opus", bit_rate=12_000, rate=48_000, options={"application": "voip", "frame_duration": "20"}
    ),
}


def transmit(samples: np.ndarray, codec: Codec, *, random: np.random.Generator | None = None) -> np.ndarray:
    """Send speech through a call: pass band, then codec. (n,) float32 in [-1, 1] -> (n,) float32.

    With ``random``, the edges of the pass band vary as they do between handsets, and the bit rate of "amr" and "opus"
    as it does between calls. Without it the pass band is ``PASS_BAND``.
    """
    if random is None:
        return through_codec(band_pass(samples, *PASS_BAND), codec)
    low, high = random.uniform(*LOW_EDGE), random.uniform(*HIGH_EDGE)
    rates = {"amr": AMR_RATES, "opus": OPUS_RATES}.get(codec)
    bit_rate = None if rates is None else int(random.choice(rates))
    return through_codec(band_pass(samples, low, high, edge=random.uniform(*EDGE_WIDTH)), codec, bit_rate=bit_rate)


def through_codec(samples: np.ndarray, codec: Codec, *, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode: (n,) float32 in [-1, 1] -> (n,) float32. ``bit_rate`` in bit/s, where not the codec's usual.

    Raises ValueError for an unknown codec.
    """
    if codec not in _CODINGS:
        raise ValueError(f"{codec!r} is not a codec of this module. Give one of {', '.join(CODECS)}.")
    coding = _CODINGS[codec] if bit_rate is None else replace(_CODINGS[codec], bit_rate=bit_rate)
    encoder, decoder = _contexts(coding)
    size = FRAME if coding.framed else max(1, len(samples))
    count = -(-(len(samples) + coding.delay) // size) + coding.framed  # one more frame flushes what the codec holds
    pcm = np.zeros(count * size, dtype=np.int16)
    pcm[: len(samples)] = np.clip(np.round(samples * 32767), -32768, 32767)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    pieces = []
    for number in range(count + 1):
        frame = None  # the last time: flush the encoder
        if number < count:
            frame = av.AudioFrame.from_ndarray(pcm[None, number * size : (number + 1) * size], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, number * size
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                decoded.sample_rate = coding.rate
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(decoded)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    heard = np.concatenate(pieces)[coding.delay : coding.delay + len(samples)]
    return np.pad(heard, (0, len(samples) - len(heard))).astype(np.float32)


def band_pass(samples: np.ndarray, low: float, high: float, *, edge: float = 60.0) -> np.ndarray:
    """Keep ``low`` to ``high`` Hz, with zero phase and raised-cosine edges ``edge`` Hz wide: (n,) -> (n,) float32."""
    size = len(samples) + RATE // 10  # what rings at the end does not wrap around to the start
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    rising = np.clip((hertz - low) / edge + 0.5, 0, 1)
    falling = np.clip((high - hertz) / edge + 0.5, 0, 1)
    gain = np.sin(0.5 * np.pi * rising) ** 2 * np.sin(0.5 * np.pi * falling) ** 2
    return np.fft.irfft(np.fft.rfft(samples, size) * gain, size)[: len(samples)].astype(np.float32)


def lose_packets(samples: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Lose each 20 ms packet with probability ``share``. The one before it is repeated at half its level."""
    heard = samples.copy()
    for number in np.flatnonzero(random.random(len(samples) // FRAME) < share):
        start = number * FRAME
        heard[start : start + FRAME] = 0 if number == 0 else 0.5 * heard[start - FRAME : start]
    return heard


@cache
def has_encoder(codec: Codec) -> bool:
    """Tell whether this PyAV can encode ``codec``. Wheels on other machines may lack AMR."""
    try:
        through_codec(np.zeros(RATE // 10, dtype=np.float32), codec)
    except (av.FFmpegError, ValueError):
        return False
    return True


def _contexts(coding: _Coding) -> tuple[av.AudioCodecContext, av.AudioCodecContext]:
    encoder, decoder = av.CodecContext.create(coding.encoder, "w"), av.CodecContext.create(coding.decoder, "r")
    assert isinstance(encoder, av.AudioCodecContext) and isinstance(decoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    decoder.sample_rate, decoder.layout = coding.rate, "mono"
    if coding.bit_rate is not None:
        encoder.bit_rate = coding.bit_rate
    encoder.options = coding.options
    encoder.open()
    decoder.extradata = encoder.extradata
    return encoder, decoder
