"""What browsers and people call a recording, by its first bytes. Web processes decode nothing."""

SIGNATURES = [  # offset, bytes, content type, suffix; https://mimesniff.spec.whatwg.org
    (0, b"RIFF", "audio/wav", "wav"),
    (0, b"OggS", "audio/ogg", "ogg"),
    (0, b"fLaC", "audio/flac", "flac"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm", "webm"),
    (4, b"ftyp", "audio/mp4", "m4a"),
    (0, b"ID3", "audio/mpeg", "mp3"),
    (0, b"\xff\xfb", "audio/mpeg", "mp3"),
    (0, b"\xff\xf3", "audio/mpeg", "mp3"),
    (0, b"\xff\xf1", "audio/aac", "aac"),
]


def recognise(audio: bytes) -> tuple[str, str] | None:
    """Return the content type and the suffix of a recording; ``None`` for a format that browsers do not know."""
    known = ((kind, suffix) for offset, magic, kind, suffix in SIGNATURES if audio[offset:].startswith(magic))
    return next(known, None)
