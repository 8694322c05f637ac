"""The speakers, real or synthetic, with recordings to enroll and to call with."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from voiceauth.demo import voices

CALL_FOLD = 0
NEWCOMER_ENROLLMENT_SECONDS = 40.0  # of recording, so that it holds 20 s of net speech
CALLS_AFTERWARDS = 3


@dataclass(frozen=True)
class Speaker:
    """One speaker and their recordings, as files."""

    name: str
    enrollment: list[bytes]
    calls: list[bytes]


@dataclass(frozen=True)
class Cast:
    """All speakers of the story."""

    speakers: list[Speaker]
    newcomer: Speaker  # enrolled after the training
    stranger: Speaker  # never enrolled; calls as the newcomer
    description: str


def real(folder: Path, scratch: Path) -> Cast:
    """Read the speakers of ``train.pq``: folds 1 to 4 enroll, fold 0 calls. Newcomer and stranger are from ``dev``.

    Raises ``FileNotFoundError`` where ``folder`` is not such a folder.
    """
    clips = pd.read_parquet(folder / "train.pq")
    others = pd.read_parquet(folder / "clips.parquet")
    audio = folder / "audio"
    if not audio.is_dir():
        audio = scratch
        with tarfile.open(folder / "audio.tar") as archive:
            archive.extractall(audio, filter="data")

    def read(paths: pd.Series) -> list[bytes]:
        return [(audio / path).read_bytes() for path in paths]

    calling = clips["fold"].astype(int) == CALL_FOLD
    speakers = [
        Speaker(str(name), enrollment=read(rows.loc[~calling, "audio"]), calls=read(rows.loc[calling, "audio"]))
        for name, rows in clips.groupby("class", sort=True)
    ]
    # The two development speakers with the most recorded speech; the model has heard neither.
    dev = others[(others["split"] == "dev") & (others["seconds"] >= 4)].sort_values("audio")
    first, second = dev.groupby("speaker")["seconds"].sum().nlargest(2).index
    ours, theirs = dev[dev["speaker"] == first], dev[dev["speaker"] == second]
    enrolls = ours["seconds"].cumsum() - ours["seconds"] < NEWCOMER_ENROLLMENT_SECONDS
    newcomer = Speaker(
        str(first), read(ours.loc[enrolls, "audio"]), read(ours.loc[~enrolls, "audio"])[:CALLS_AFTERWARDS]
    )
    stranger = Speaker(str(second), [], read(theirs["audio"])[:CALLS_AFTERWARDS])
    return Cast(speakers, newcomer, stranger, f"real speech of {len(speakers)} speakers from {folder.name}/train.pq")


def synthetic() -> Cast:
    """Make ten synthetic voices, a newcomer and a stranger."""

    def speaker(number: int, enrollment: int, calls: int) -> Speaker:
        takes = [voices.recording(number, take) for take in range(enrollment + calls)]
        return Speaker(f"voice-{number:02d}", takes[:enrollment], takes[enrollment:])

    speakers = [speaker(number, enrollment=6, calls=3) for number in range(10)]
    newcomer, stranger = speaker(10, enrollment=6, calls=CALLS_AFTERWARDS), speaker(11, 0, CALLS_AFTERWARDS)
    return Cast(
        speakers, newcomer, stranger, f"{len(speakers)} SYNTHETIC voices, which show the steps and not the accuracy"
    )
