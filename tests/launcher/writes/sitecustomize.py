"""Notes which folders of the state folder each process writes to. Python imports it at start, by its name.

One line for each kind of write, ``part folder``, goes to the file ``VOICEAUTH_TEST_WRITES``.
"""

import os
import sys
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STATE = os.environ["VOICEAUTH_STATE_DIR"] + os.sep
NOTES = os.open(os.environ["VOICEAUTH_TEST_WRITES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
noted: set[str] = set()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a write below the state folder."""
    changes = event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link")
    if not changes and not (event == "open" and (arguments[2] or 0) & WRITES):
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(STATE):
        line = f"{_part()} {os.fsdecode(path).removeprefix(STATE).split(os.sep)[0]}\n"
        if line not in noted:
            noted.add(line)
            os.write(NOTES, line.encode())


def _part() -> str:
    words = " ".join(sys.orig_argv)
    named = [name for name in ("launcher.web", "beat") if name in words]
    return os.environ.get("VOICEAUTH_WORKER") or (
        {"launcher.web": "web", "beat": "beat"}[named[0]] if named else "launcher"
    )


sys.addaudithook(note)
