"""Audio containers by their bytes: which demuxer reads a file, where its audio ends, and whether any is missing.

Files are read as players read them. What comes behind the audio is no part of it: tags, padding to a disk sector, a
line that a script appended. A duration in a header goes by the clock and not by the audio, so it proves nothing. Audio
is missing only where the structure of the file says so: a chunk, a box or a page that ends behind the end of the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mltraining.speech.audio import mp4, riff
from mltraining.speech.audio.errors import AudioError

MAX_TAGS = 4  # ID3 tags in front of the audio
MAX_CHUNKS = 1000  # of metadata in an aiff or caf
UNKNOWN_SIZE = 0x7FFF0000  # and more: what recorders write before they know
TRANSPORT_PACKETS = ((0, 188), (4, 192))  # of MPEG: where the first sync byte is, and how far the next one

# What callers are told. docs/api.md has the same list, with the codecs of each.
NAMES = ("wav", "ogg", "mp3", "flac", "m4a", "webm", "aac", "amr", "aiff", "caf", "au", "wma", "avi", "mpeg-ts")

# Of files made of chunks: where the first begins, how sizes are written, and which chunk holds the audio.
CHUNKED: dict[str, tuple[int, Literal["little", "big"], int, bytes]] = {
    "aiff": (12, "big", 4, b"SSND"),
    "caf": (8, "big", 8, b"data"),
}
CAF_CHUNKS = frozenset(
    (b"desc", b"data", b"pakt", b"kuki", b"chan", b"info", b"strg", b"mark", b"regn", b"inst", b"midi", b"ovvw",
     b"peak", b"edct", b"umid", b"uuid", b"free")
)  # fmt: skip
MAGIC = {
    b"OggS": "ogg",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"fLaC": "flac",
    b"#!AMR": "amr",
    b".snd": "au",
    b"caff": "caf",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00": "w64",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c": "asf",
}
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
EBML_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Container:
    """A recognised file: FFmpeg's name of the demuxer, what it is given, and how much audio the file lacks.

    ``missing`` is the share of the audio's bytes, from 0 to 1, that the structure names and the file lacks. It is 1
    where an ogg ends within a page or an mp4 within a fragment, because nothing says how many would follow.
    """

    demuxer: str
    data: bytes
    missing: float = 0.0


def recognise(data: bytes) -> Container | None:
    """Return what kind of audio file this is by its bytes, or None if it is none.

    Raises AudioError for a file that ends within its structure before any audio, and for one that was built to expand.
    """
    for _ in range(MAX_TAGS):
        if not data.startswith(b"ID3") or len(data) < 10:
            break
        rest = data[10 + _syncsafe(data[6:10]) :]
        if sniff(rest) is None and not rest.startswith(b"ID3"):
            break
        data = rest
    demuxer = "mp3" if data.startswith(b"ID3") else sniff(data)
    if demuxer is None:
        return None
    if demuxer == "wav":
        wav, missing = riff.read_wave(data)
        return Container(demuxer, wav, missing)
    if demuxer == "mov":
        return Container(demuxer, *mp4.read(data))
    if demuxer in CHUNKED:
        return Container(demuxer, *_chunks(data, demuxer))
    if demuxer == "au":
        return Container(demuxer, *_au(data))
    measures = {
        "avi": riff.missing_of_avi,
        "w64": riff.missing_of_wave64,
        "matroska": _missing_of_matroska,
        "asf": _missing_of_asf,
        "ogg": _missing_of_ogg,
    }
    return Container(demuxer, data, measures[demuxer](data) if demuxer in measures else 0.0)


def sniff(data: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer that the first bytes call for, or None if they are not those of audio."""
    head = data[:16]
    if head[:4] in riff.WAVES and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in mp4.FIRST:
        return "mov"
    for magic, demuxer in MAGIC.items():
        if head.startswith(magic):
            return demuxer
    for first, step in TRANSPORT_PACKETS:
        if len(data) > first + 2 * step and all(data[first + step * number] == 0x47 for number in range(3)):
            return "mpegts"
    if len(head) > 1 and head[0] == 0xFF:
        layer = head[1] >> 1 & 3  # 0: ADTS; 1, 2: MPEG layers III and II
        if head[1] & 0xF0 == 0xF0 and layer == 0:
            return "aac"
        if head[1] & 0xE0 == 0xE0 and layer in (1, 2):
            return "mp3"
    return None


def is_unmistakable(data: bytes) -> bool:
    """Whether the first bytes are those of a container, and not also those of samples without a header."""
    demuxer = sniff(data)
    return demuxer is not None and demuxer not in ("aac", "mp3", "mpegts")


def declared_frames(data: bytes) -> int:
    """Return how many frames an mp3's Xing header promises, 0 without one. The encoder's padding counts."""
    at = max(data.find(b"Xing", 0, 1 << 16), data.find(b"Info", 0, 1 << 16))
    if at < 0 or at + 12 > len(data) or not data[at + 7] & 1:
        return 0
    return int.from_bytes(data[at + 8 : at + 12], "big")


def _syncsafe(size: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))


def _chunks(data: bytes, demuxer: str) -> tuple[bytes, float]:
    """The file without what comes behind its last chunk, and the missing share of an aiff's or a caf's audio.

    FFmpeg silently corrects a wrong size of a data chunk, and spends seconds in metadata that claims gigabytes.
    """
    at, order, width, audio = CHUNKED[demuxer]
    missing, heard = 0.0, False
    for _ in range(MAX_CHUNKS):
        if at + 4 + width > len(data):
            return data, missing
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 4 + width], order)
        if heard and not (name in CAF_CHUNKS if demuxer == "caf" else riff.is_name(name)):
            return data[:at], missing
        left = len(data) - at - 4 - width
        if name == audio:
            if size == 0 or size >= UNKNOWN_SIZE:
                return data, 0.0
            heard, missing = True, max(0.0, 1 - left / size)
        elif size > left:
            if heard:
                return data[:at], missing
            raise AudioError("truncated_audio")
        at += 4 + width + size + (size % 2 if demuxer != "caf" else 0)  # to an even address
    raise AudioError("audio_bomb", f"The file has more than {MAX_CHUNKS} chunks.")


def _au(data: bytes) -> tuple[bytes, float]:
    start, size = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if start > len(data):
        raise AudioError("truncated_audio")
    if size == 0 or size >= UNKNOWN_SIZE:
        return data, 0.0
    return data[: start + size], max(0.0, 1 - (len(data) - start) / size)


def _missing_of_matroska(data: bytes) -> float:
    """The missing share of the segment. A recording that was made while it was sent does not tell its size."""
    for name, at, size in _elements(data):
        if name == EBML_SEGMENT and size is not None:
            return max(0.0, 1 - (len(data) - at) / max(1, size))
    return 0.0


def _missing_of_asf(data: bytes) -> float:
    """The missing share of a file. One that was made while it was sent does not tell its size."""
    at = data.find(ASF_PROPERTIES, 0, 1 << 16)
    if at < 0 or at + 92 > len(data) or data[at + 88] & 1:
        return 0.0
    return max(0.0, 1 - len(data) / max(1, int.from_bytes(data[at + 40 : at + 48], "little")))


def _elements(data: bytes) -> Iterator[tuple[bytes, int, int | None]]:
    """The name, the start and the size of EBML elements at the top of a file (RFC 8794), at most four of them."""
    at = 0
    for _ in range(4):
        if at >= len(data) or not data[at]:
            return
        width = 9 - data[at].bit_length()
        name, at = data[at : at + width], at + width
        if at >= len(data) or not data[at]:
            return
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
        at += width
        unknown = size == (1 << 7 * width) - 1
        yield name, at, None if unknown else size
        if unknown:
            return
        at += size


def _missing_of_ogg(data: bytes) -> float:
    """1 where the file ends within a page (RFC 3533). A missing end-of-stream flag is left to live recorders."""
    at = 0
    while at < len(data) and data[at : at + 4] == b"OggS":
        if at + 27 > len(data):
            return 1.0
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
        if at > len(data):
            return 1.0
    return 0.0
