"""MP4 and QuickTime files (ISO/IEC 14496-12): where they end, and whether their tables can be true."""

from collections.abc import Iterator

from mltraining.speech.audio.errors import AudioError

FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # the box that a file begins with
KNOWN = frozenset(
    (*FIRST, b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta", b"pnot", b"udta", b"emsg", b"prft", b"ssix", b"junk")
)
HOLDING = frozenset((b"mdat", b"moov", b"moof"))  # audio, or what is needed to find it
NESTED = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"))
MAX_BOXES = 20_000
SAMPLES_A_BYTE = 8  # QuickTime counts the samples of IMA4 and GSM, of which there are two to five for each byte


def read(data: bytes) -> tuple[bytes, float]:
    """Return the file up to the end of its last box, and the share of it that is missing, from 0 to 1.

    It is 1 where the file ends within a fragment, because nothing says how many more there are.

    Raises AudioError for a table of more samples than the file can hold: FFmpeg would take gigabytes for it.
    """
    at, fragmented = 0, False
    for name, _, end in _boxes(data, 0, len(data)):
        fragmented = fragmented or name == b"moof"
        if name not in KNOWN:
            return data[:at], 0.0
        if end > len(data):
            missing = 1.0 if fragmented else 1 - len(data) / end
            return data, missing if name in HOLDING else 0.0
        at = end
    _check_tables(data)
    return data, 0.0


def _check_tables(data: bytes) -> None:
    places = [(0, len(data))]
    count = 0
    while places:
        for name, start, end in _boxes(data, *places.pop()):
            count += 1
            if count > MAX_BOXES:
                raise AudioError("audio_bomb", f"The file has more than {MAX_BOXES} boxes.")
            if name in NESTED:
                places.append((start, min(end, len(data))))
            elif name == b"stsz":
                size, samples = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (4, 8))
                if max(1, size) * samples > SAMPLES_A_BYTE * len(data):
                    raise AudioError("audio_bomb", f"The file's table claims {samples} samples.")
            elif name == b"trun" and int.from_bytes(data[start + 4 : start + 8], "big") > len(data):
                raise AudioError("audio_bomb", "A fragment claims more samples than the file has bytes.")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name, the start of the content and the end of each box between two places. An end may lie behind the file."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, name, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < start - at:
            return
        yield name, start, at + size
        at += size
