"""``manage.py demo``: the story through the REST API, against a running service or one started for it."""

import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from voiceauth.client import Refused
from voiceauth.demo import cast, recipe, report
from voiceauth.demo.client import Client, Clients
from voiceauth.demo.story import Story, StoryError
from voiceauth.launcher.parts import bind_address
from voiceauth.platform import env
from voiceauth.platform.api.clients import create_client, revoke_client
from voiceauth.platform.audit import SYSTEM

ROLES = {"teller": "teller", "ivr": "ivr", "reviewer": "reviewer", "operator": "admin", "second_operator": "admin"}
TOKENS = {name: f"VOICEAUTH_{role.upper()}_TOKEN" for name, role in ROLES.items()}
TOKENS["second_operator"] = "VOICEAUTH_SECOND_ADMIN_TOKEN"
TOKEN_LIFE = timedelta(hours=2)
START_SECONDS = 120.0


class Command(BaseCommand):
    help = "Enroll, retrain, promote, verify and identify through the REST API, and report."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--speech", type=Path, help="a folder in the format of docs/speech-format.md")
        parser.add_argument("--url", default=f"http://{bind_address()}")

    def handle(self, *args: Any, speech: Path | None, url: str, **options: Any) -> None:
        """Run the command."""
        logging.getLogger("httpx").setLevel(
            logging.WARNING
        )  # or it would print every request between the progress bars
        console = Console(highlight=False)
        url = url.rstrip("/").replace("//0.0.0.0", "//127.0.0.1")
        with tempfile.TemporaryDirectory() as scratch, _service(url, console), _clients(url) as clients:
            players = _cast(speech, Path(scratch), console)
            config = recipe.SPEECH if speech else recipe.SYNTHETIC
            try:
                results = Story(clients, players, config, console).tell()
            except (StoryError, Refused) as error:
                raise CommandError(f"The demo stopped: {error}") from error
            report.show(results, clients, console, url)
        if failed := report.problems(results):
            raise CommandError("The demo did not end well: " + "; ".join(failed))


def _cast(speech: Path | None, scratch: Path, console: Console) -> cast.Cast:
    if speech is None:
        console.print("[bold yellow]SYNTHETIC voices: the figures below say nothing about the accuracy on people.[/]")
        console.print("On real speech: make demo SPEECH=<folder>")
        with console.status("making voices"):
            return cast.synthetic()
    try:
        with console.status("unpacking recordings"):
            return cast.real(speech, scratch)
    except FileNotFoundError as error:
        raise CommandError(
            f"--speech needs a folder with train.pq, clips.parquet, and audio/ or audio.tar: {error}"
        ) from error


@contextmanager
def _service(url: str, console: Console) -> Iterator[None]:
    """Use the running service, or run one for the time of the story."""
    if _is_ready(url):
        yield
        return
    console.print(f"No service answers at {url}. Starting one for the time of the demo.")
    address = httpx.URL(url)
    bind = os.environ | {"VOICEAUTH_BIND": f"{address.host}:{address.port or 80}"}
    command = [sys.executable, sys.argv[0], "serve"]
    process = subprocess.Popen(command, env=_without_embedded(bind), start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"The service did not start at {url}; see its messages above.")
            time.sleep(0.3)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        process.wait()


def _without_embedded(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment without the addresses that manage.py filled in.

    The service then finds and owns its embedded servers itself.
    """
    from voiceauth.launcher import embedded

    return {name: value for name, value in environment.items() if name not in embedded.attached}


@contextmanager
def _clients(url: str) -> Iterator[Clients]:
    """Yield a client for each program, with the tokens given, or with new ones that are revoked at the end."""
    given = {name: env.text(variable) for name, variable in TOKENS.items()}
    if all(given.values()):
        yield Clients(**{name: Client(url, token) for name, token in given.items()})
        return
    suffix = secrets.token_hex(4)
    issued = {name: f"demo-{name}-{suffix}" for name in ROLES}
    try:
        yield Clients(
            **{
                name: Client(
                    url,
                    create_client(name=issued[name], role=role, actor=SYSTEM, expires_in=TOKEN_LIFE)[1],
                )
                for name, role in ROLES.items()
            }
        )
    finally:
        for client_name in issued.values():
            revoke_client(name=client_name, actor=SYSTEM)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
