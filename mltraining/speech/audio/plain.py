"""Samples as telephones send them: G.711 and 16 bits at up to 16 kHz, in a wav or without a header.

There is nothing to decode in them: a table (ITU-T G.711) or a division gives each sample its value. So they need no
decoder in C, and no process to keep it in, which costs more than all else of reading a call. Whatever is unusual about
a file is left to ``decoding``.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mltraining.speech.audio.containers import Container
from mltraining.speech.audio.riff import PCM

ALAW, MULAW = 6, 7  # tags of a wav's format
CODECS = {(PCM, 16): "pcm_s16le", (ALAW, 8): "pcm_alaw", (MULAW, 8): "pcm_mulaw"}
HEADERLESS = {"mulaw": "pcm_mulaw", "alaw": "pcm_alaw", "s16le": "pcm_s16le", "s16be": "pcm_s16be"}
WIDTHS = {"pcm_mulaw": 1, "pcm_alaw": 1, "pcm_s16le": 2, "pcm_s16be": 2}  # bytes
LOWEST_RATE, HIGHEST_RATE, MOST_CHANNELS = 4_000, 16_000, 2  # more is no telephone's, and takes memory
HEAD = struct.Struct("<12x4sI")  # of the wav that ``riff`` writes anew
FORM = struct.Struct("<HHIIHH")  # tag, channels, rate, bytes a second, bytes of all channels, bits


@dataclass(frozen=True)
class Plain:
    """Samples of one ``codec`` (FFmpeg's name) that need no decoder, those of all channels in turn."""

    codec: str
    rate: int  # Hz
    channels: int
    data: memoryview

    @property
    def seconds(self) -> float:
        """How long they last."""
        return len(self.data) / (WIDTHS[self.codec] * self.channels * self.rate)

    def planes(self) -> list[np.ndarray]:
        """Return each channel: (n,) float32 in [-1, 1]."""
        if self.codec in TABLES:
            values = TABLES[self.codec][np.frombuffer(self.data, dtype=np.uint8)]
        else:
            dtype = np.dtype("<i2" if self.codec == "pcm_s16le" else ">i2")
            values = np.frombuffer(self.data, dtype=dtype).astype(np.float32) / np.float32(1 << 15)
        return [np.ascontiguousarray(values[number :: self.channels]) for number in range(self.channels)]


def find(source: Container, options: Mapping[str, str]) -> Plain | None:
    """Return the plain samples of a file, with its demuxer's ``options``; ``None`` where it holds anything else."""
    if source.demuxer in HEADERLESS:
        codec, rate, channels, at = HEADERLESS[source.demuxer], int(options["sample_rate"]), 1, 0
    elif source.demuxer == "wav":
        name, size = HEAD.unpack_from(source.data)
        if name != b"fmt " or size < FORM.size:
            return None
        tag, channels, rate, _, block, bits = FORM.unpack_from(source.data, HEAD.size)
        codec, at = CODECS.get((tag, bits), ""), HEAD.size + size + 8
        if not codec or block != channels * WIDTHS[codec]:
            return None
    else:
        return None
    if not (LOWEST_RATE <= rate <= HIGHEST_RATE and 1 <= channels <= MOST_CHANNELS):
        return None
    data = memoryview(source.data)[at:]
    return Plain(codec, rate, channels, data) if data and len(data) % (channels * WIDTHS[codec]) == 0 else None


def _mulaw() -> np.ndarray:
    code = ~np.arange(256, dtype=np.uint8)
    size = ((code & 0x0F).astype(np.int32) * 8 + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -size, size)


def _alaw() -> np.ndarray:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    step, size = (code >> 4 & 7).astype(np.int32), (code & 0x0F).astype(np.int32) * 16 + 8
    size = np.where(step, size + 0x100 << np.maximum(step - 1, 0), size)
    return np.where(code & 0x80, size, -size)


TABLES = {
    "pcm_mulaw": (_mulaw() / (1 << 15)).astype(np.float32),
    "pcm_alaw": (_alaw() / (1 << 15)).astype(np.float32),
}
