"""The files of a scoring pipeline's folder: how they are named, hashed, written in one step and changed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENCODER, HEAD, DESCRIPTION, CLASSES = "encoder.safetensors", "head.safetensors", "pipeline.json", "classes.json"
COHORT = "cohort.safetensors"
EXPORT_INPUT = "samples"  # what an export takes; one of an earlier version took spectrograms


class PipelineError(ValueError):
    """The folder holds no scoring pipeline, is damaged, or lacks the part that was asked for."""

    code = "invalid_pipeline"


def serving_export(folder: Path, described: dict[str, Any]) -> str | None:
    """Return the export that serves on a CPU, by its name in pipeline.json; ``None`` where there is none."""
    exports = described.get("exports") or {}
    name = exports.get("default")
    file = (exports.get(name) or {}).get("file")
    return name if file and exports.get("input") == EXPORT_INPUT and (folder / file).is_file() else None


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a new, empty folder to write into, which takes the place of ``folder`` when all went well."""
    draft = folder.with_name(f".{folder.name}.draft")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    yield draft
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)


def amend(folder: Path, **entries: Any) -> None:
    """Change entries of pipeline.json, in one step (rename)."""
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    write_json(folder / f".{DESCRIPTION}", described | entries)
    os.replace(folder / f".{DESCRIPTION}", folder / DESCRIPTION)


def sha256(path: Path) -> "hashlib._Hash":
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object for people to read, too."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
