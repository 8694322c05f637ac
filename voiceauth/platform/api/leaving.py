"""How a web process leaves: first its callers go elsewhere, then it stops.

Whoever stands before a process that gets SIGTERM (the proxies of Kubernetes, for example) hears of it only a little
later, and keeps connections open meanwhile. So the process goes on for ``VOICEAUTH_DRAIN_SECONDS``: it takes
connections as before, and closes each one behind its answer (RFC 9112, section 9.6). Only then does the web server stop
listening, finish what it holds, and close connections that nobody uses.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from voiceauth.platform.api.front import Application, Receive, Scope, Send

CLOSE = (b"connection", b"close")


class Leaving:
    """An ASGI application around another one.

    ``last`` is awaited when the ``seconds`` to leave are over: it ends what could go on for ever.
    """

    def __init__(self, application: Application, *, seconds: float, last: Callable[[], Awaitable[None]]) -> None:
        self._application, self._seconds, self._last = application, seconds, last
        self._left: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out a request, or the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._application(scope, receive, self._closing(send))
        else:
            await self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        # The web server has set its own handlers; by the one for SIGINT it is stopped in the end.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._leave)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _leave(self) -> None:
        if self._left is None:
            self._left = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        await asyncio.sleep(self._seconds)
        await self._last()
        os.kill(os.getpid(), signal.SIGINT)

    def _closing(self, send: Send) -> Send:
        async def closing(message: Any) -> None:
            if self._left is not None and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), CLOSE]}
            await send(message)

        return closing
