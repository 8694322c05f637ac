"""Audio containers by their bytes: which demuxer reads a file, and how much audio its header promises."""

from typing import Literal

import av

from mltraining.speech.audio.errors import AudioError

MP3_PADDING_FRAMES = 3  # the encoder's delay and padding at both ends, which a decoder drops
MAX_CHUNKS = 1000  # of metadata in a wav, aiff or caf

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


def sniff(data: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer that the first bytes call for, or None if they are not those of audio."""
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


def declared_seconds(
    data: bytes, demuxer: str, container: av.container.InputContainer, stream: av.AudioStream
) -> float:
    """Return how many seconds the header promises. 0 if it does not say, as in a recording made while it was sent."""
    context = stream.codec_context
    if demuxer == "mp3":
        at = max(data.find(b"Xing", 0, 1 << 16), data.find(b"Info", 0, 1 << 16))
        if at < 0 or not data[at + 7] & 1:
            return 0.0  # FFmpeg's duration is a guess from the bit rate
        samples_per_frame = 1152 if context.sample_rate >= 32_000 else 576
        frames = int.from_bytes(data[at + 8 : at + 12], "big") - MP3_PADDING_FRAMES
        return max(0, frames) * samples_per_frame / context.sample_rate
    if demuxer == "matroska":
        return (container.duration or 0) / av.time_base
    if demuxer in ("flac", "mov", "au", "aiff") and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0


def declared_share(data: bytes, demuxer: str) -> float:
    """Return the declared bytes of audio over the bytes that are there; 1 if none are missing.

    Raises AudioError if the file ends within its structure. FFmpeg silently corrects a wrong size of a data chunk, and
    spends seconds in a chunk of metadata that claims gigabytes.
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
