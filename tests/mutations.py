"""Takes behaviours out of the code, one at a time, and runs the test that docs/compliance.md names: it must fail.

``python -m tests.mutations [PART OF A TEST'S NAME]``: by hand, because all take half an hour. Works on a copy of the
tree. ``mutations.txt`` is the table, and says how it is read; ``test_compliance.py`` holds it against the document and
the code. Exit code 1 where a test passes without its behaviour, or fails with everything in place.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests import servers

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "shared", "__pycache__", ".*_cache", ".hypothesis")
MOST_SECONDS = 900
BROKEN = "not a failed test"
CODE_ERRORS = re.compile(r"(Import|ModuleNotFound|Name|Syntax|Indentation|UnboundLocal)Error")


@dataclass(frozen=True)
class Edit:
    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    test: str  # as the document names it
    edits: tuple[Edit, ...]


def table() -> list[Mutation]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    found, test = [], ""
    for block in text.split("\n\n"):
        parts: list[tuple[str, list[str], list[str]]] = []
        for line in (each for each in block.splitlines() if not each.startswith("#")):
            if line[0] in "-+":
                parts[-1][1 if line[0] == "-" else 2].append(line[1:])
            elif "::" in line:
                test = line
            else:
                parts.append((line, [], []))
        if parts:
            edits = (Edit(path, "\n".join(old), "\n".join(new)) for path, old, new in parts)
            found.append(Mutation(test, tuple(edits)))
    return found


def main(chosen: str) -> int:
    mutations = [each for each in table() if chosen in each.test]
    servers.start()  # once, for all of them
    with tempfile.TemporaryDirectory(prefix="voiceauth-mutations-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        if not mutations or (failure := failure_of(tree, *{each.test for each in mutations})):
            print(f"not even as it is: {failure if mutations else 'there is no such test'}")
            return 1
        survived = [each for each in mutations if not _caught(tree, each)]
    print(f"{len(mutations)} behaviours taken out, {len(survived)} of them unnoticed")
    return 1 if survived else 0


def _caught(tree: Path, mutation: Mutation) -> bool:
    originals = {edit.path: (tree / edit.path).read_text(encoding="utf-8") for edit in mutation.edits}
    for edit in mutation.edits:
        text = (tree / edit.path).read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise ValueError(f"{edit.path} does not hold this once: {edit.old}")
        (tree / edit.path).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    failure = failure_of(tree, mutation.test)
    for path, text in originals.items():
        (tree / path).write_text(text, encoding="utf-8")
    caught = bool(failure) and not failure.startswith(BROKEN)
    without = " and ".join(f"{edit.path}: {edit.old.strip().splitlines()[0]}" for edit in mutation.edits)
    print(f"{'caught' if caught else 'SURVIVED'}  {mutation.test}\n    without {without}\n    {failure}", flush=True)
    return caught


def failure_of(tree: Path, *tests: str) -> str:
    """What the first test to fail said; empty where all passed; ``BROKEN`` first where no test did."""
    paths = sorted({f"tests/{test.partition('::')[0]}" for test in tests})
    names = " or ".join(sorted(test.partition("::")[2] for test in tests))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths, "-k", names]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    process = subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        return f"{BROKEN}: it did not end"
    if process.returncode == 0:
        return ""
    said = re.search(r"^E +(\S.*)$", output, re.MULTILINE)
    failure = said[1] if said else output[-300:].strip()
    failed = re.search(r"^FAILED ", output, re.MULTILINE) and not CODE_ERRORS.match(failure)
    return failure if failed else f"{BROKEN}: {failure}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
