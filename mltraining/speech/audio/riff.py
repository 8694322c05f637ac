"""WAV and AVI, made of RIFF chunks (Microsoft's Multimedia Programming Interface, EBU Tech 3306 and 3285).

A wav is written anew before a demuxer sees it: its format, and its samples up to their end. So neither chunks of text
in front of the samples, nor whatever stands behind them, can be taken for audio.
"""

import struct

import numpy as np

from mltraining.speech.audio.errors import AudioError

WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")  # RIFX is big-endian; the last two keep 64-bit sizes in a chunk, ds64
MAX_CHUNKS = 1000  # of metadata in front of the samples
UNKNOWN_SIZE = 0x7FFF0000  # and more: what recorders write before they know
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # of an extensible format, behind its tag


def is_name(name: bytes) -> bool:
    """Whether four bytes can be the name of a chunk: printable ASCII."""
    return len(name) == 4 and all(0x20 <= byte <= 0x7E for byte in name)


def read_wave(data: bytes) -> tuple[bytes, float]:
    """Return a wav with the same format and samples and nothing else, and the share of the samples that is missing.

    Raises AudioError where the file ends before its samples, has none, or has countless chunks.
    """
    big = data[:4] == b"RIFX"
    at, form, long_size = 12, b"", 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            raise AudioError("truncated_audio")
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big" if big else "little")
        at += 8
        if name == b"data":
            break
        if size > len(data) - at:
            raise AudioError("truncated_audio")
        if name == b"fmt ":
            form = data[at : at + min(size, 4096)]
        elif name == b"ds64" and size >= 16:
            long_size = int.from_bytes(data[at + 8 : at + 16], "little")
        at += size
        if size % 2 and not (is_name(data[at : at + 4]) and not is_name(data[at + 1 : at + 5])):
            at += 1  # to an even address; some writers forget to
    else:
        raise AudioError("audio_bomb", f"The file has more than {MAX_CHUNKS} chunks in front of its samples.")
    if len(form) < 14:
        raise AudioError("truncated_audio", "The file does not say which format its samples have.")
    left = len(data) - at
    if size == 0 or size >= UNKNOWN_SIZE:
        size = long_size if 0 < long_size < UNKNOWN_SIZE else left
    samples = data[at : at + size]
    if not samples:
        raise AudioError("empty_audio")
    if big:
        form, samples = _little_endian(form, samples)
    form = _whole_bytes(form)
    head = struct.pack("<4sI4s4sI", b"RIFF", len(samples) + len(form) + 20, b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", len(samples)) + samples, max(0.0, 1 - left / max(1, size))


def missing_of_avi(data: bytes) -> float:
    """Return the missing share of an avi: of its list ``movi``, which holds picture and sound."""
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            return 0.0
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"LIST" and data[at + 8 : at + 12] == b"movi":
            return 0.0 if size >= UNKNOWN_SIZE else max(0.0, 1 - (len(data) - at - 8) / max(1, size))
        at += 8 + size + size % 2
    return 0.0


def missing_of_wave64(data: bytes) -> float:
    """Return the missing share of a Wave64 file's samples. Its chunks have names of 16 bytes and 64-bit sizes."""
    at = 40
    for _ in range(MAX_CHUNKS):
        if at + 24 > len(data):
            return 0.0
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        if data[at : at + 4] == b"data":
            return max(0.0, 1 - (len(data) - at) / max(24, size))
        at += max(24, size + -size % 8)
    return 0.0


def _little_endian(form: bytes, samples: bytes) -> tuple[bytes, bytes]:
    """The format and the samples of a RIFX file in the usual order of bytes."""
    widths = [2, 2, 4, 4, 2, 2, 2, 2, 4, 2]  # tag, channels, rate, byte rate, block, bits; of an extensible one more
    parts, at = [], 0
    for width in widths:
        parts.append(form[at : at + width][::-1])
        at += width
    form = b"".join(parts) + form[at:]
    tag, channels, _, _, block = struct.unpack("<HHIIH", form[:14])
    width = block // max(1, channels)
    if tag in (PCM, FLOAT, EXTENSIBLE) and width > 1:
        whole = np.frombuffer(samples[: len(samples) // width * width], dtype=np.uint8)
        samples = whole.reshape(-1, width)[:, ::-1].tobytes()
    return form, samples


def _whole_bytes(form: bytes) -> bytes:
    """The format, with as many bits a sample as its bytes have. 24 bits in 4 bytes are the upper 24 (KSDATAFORMAT)."""
    tag, channels, _, _, block = struct.unpack("<HHIIH", form[:14])
    is_pcm = tag == PCM or (tag == EXTENSIBLE and form[24:40] == struct.pack("<H", PCM) + SUBFORMAT)
    if not is_pcm or len(form) < 16 or not channels or block % channels or block // channels not in (2, 3, 4):
        return form
    bits = struct.pack("<H", 8 * block // channels)
    return form[:14] + bits + (form[16:18] + bits + form[20:] if tag == EXTENSIBLE else b"")
