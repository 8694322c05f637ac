"""The web server: granian with two processes, and private logs. ``python -m voiceauth.launcher.web`` runs it."""

import argparse
import os
import tempfile

from voiceauth.launcher import parts

PROCESSES = 2
STOP_SECONDS = 25  # for what is under way: an enrollment may take 15, and streams 10 to end
START_SECONDS = 20  # for a new process, before SIGHUP stops the one that it replaces
CONNECTIONS = 4096  # of each process at once


def main() -> None:
    """Serve until a signal ends it."""
    argparse.ArgumentParser(prog="python -m voiceauth.launcher.web", description=__doc__).parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")
    host, port = parts.host_and_port(parts.bind_address())
    with tempfile.TemporaryDirectory(prefix="voiceauth-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # in which the processes count together
        _serve(host, port)


def _serve(host: str, port: int) -> None:
    from django.conf import settings
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings

    Granian(
        "voiceauth.asgi:application",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=PROCESSES,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        websockets=True,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.VOICEAUTH_HEADER_SECONDS * 1000)),
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        log_dictconfig=settings.LOGGING,
        workers_kill_timeout=round(settings.VOICEAUTH_DRAIN_SECONDS) + STOP_SECONDS,
        respawn_failed_workers=True,
        respawn_interval=START_SECONDS,
    ).serve()


if __name__ == "__main__":
    main()
