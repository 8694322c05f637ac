"""The WebSocket of streamed calls. Everything here runs in the event loop; what waits runs on threads (``steps``).

A connection is read by one task, ``_Line``, for as long as it lives, so that audio keeps coming while a worker answers.
Another, ``_Conversation``, decides what to ask and to say. An error is sent as a message and closes the connection with
4000 and its status; before the WebSocket is accepted it is an HTTP answer.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import close_old_connections, connection
from django.http import Http404
from rest_framework.utils.encoders import JSONEncoder

from voiceauth.platform import logs, metrics
from voiceauth.platform.api.exceptions import DATABASE_IS_AWAY, DATABASE_RETRY_SECONDS
from voiceauth.platform.api.middleware import caller_address, request_id_of
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import Actor
from voiceauth.platform.errors import DatabaseUnavailable, DomainError
from voiceauth.platform.postgresql import preparing
from voiceauth.verification.errors import MoreSpeechNeeded
from voiceauth.verification.models import Decision
from voiceauth.verification.streams import protocol, steps
from voiceauth.verification.streams.errors import (
    MalformedStream,
    ServerStopping,
    StreamBroken,
    StreamIdle,
    TooManyStreams,
)
from voiceauth.verification.streams.listening import Audio

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

READING_SECONDS = 0.3  # that a client gets to read the answer, and to hang up by itself
THREADS = 8  # steps that this process carries out at once
START_SECONDS = 10.0  # from the handshake to the start message
IDLE_SECONDS = 30.0  # without a message, where platforms send one every 20 ms
LEAST_STEP_SECONDS = 0.2  # of sound between two questions to a worker
FOLLOWED_SECONDS = 30.0  # of the latest audio that is compared after the answer
CUT_OFF_SECONDS = 10.0  # for streams to end when the process stops: one may wait for a worker's answer
ATTEMPTS = 4  # to reach a worker, ``retry_after_seconds`` apart, while the call goes on


class Streams:
    """An ASGI application for the WebSockets of this process."""

    def __init__(self) -> None:
        self.lines: set[_Line] = set()  # of the calls that are listened to
        self._held: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        headers = {name: value for name, value in pairs if "_" not in name}
        address = caller_address((scope.get("client") or ("",))[0], headers.get("x-forwarded-for", ""))
        request_id = request_id_of(headers.get("x-request-id", ""))
        actor = Actor(name="anonymous", role="anonymous", ip_address=address, request_id=request_id)
        logs.request_id.set(request_id)
        await receive()  # websocket.connect
        try:
            client = await self._admitted(scope, headers, address)
        except Exception as error:
            await self._refuse_handshake(error, actor, send)
            return
        await send({"type": "websocket.accept"})
        held = asyncio.create_task(_Conversation(self, _Line(receive), send, client, actor).hold())
        self._held.add(held)
        held.add_done_callback(self._held.discard)
        await held

    async def cut_off(self) -> None:
        """End every stream with ``ServerStopping``, and wait until they have told it."""
        for line in self.lines:
            line.cut_off()
        if self._held:
            await asyncio.wait(self._held, timeout=CUT_OFF_SECONDS)

    async def in_thread(self, step: Callable[..., T], *arguments: Any) -> T:
        """Run a step on a thread, with a database connection that works."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _with_database, logs.request_id.get(), step, arguments
        )

    async def _admitted(self, scope: Scope, headers: dict[str, str], address: str) -> ApiClient | None:
        if scope["path"] != steps.PATH:
            raise Http404
        if settings.VOICEAUTH_TLS and headers.get("x-forwarded-proto") != "https":
            raise PermissionDenied
        return await self.in_thread(steps.admit, headers.get("authorization", ""), address)

    async def _refuse_handshake(self, error: Exception, actor: Actor, send: Send) -> None:
        failure, told = await self.in_thread(steps.refuse, error, actor, None)
        given = {"Content-Type": "application/json", "X-Request-ID": actor.request_id, **failure.headers}
        headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        await send({"type": "websocket.http.response.start", "status": failure.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": _json({"error": told}).encode()})


class _Line:
    """What comes in: messages until the start, then samples. ``ended`` says why no more will come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._awaited_seconds = float("inf")  # of sound
        self._ready = asyncio.Event()
        self._chunk = -1
        self.audio = Audio("mulaw", settings.VOICEAUTH_MAX_AUDIO_SECONDS)
        self.ended: DomainError | None = None
        self.is_stopped = False

    @property
    def is_over(self) -> bool:
        """Whether no further samples are taken."""
        return self.is_stopped or self.ended is not None or self.audio.is_full

    async def start(self) -> protocol.Start:
        """Wait for the start message. Raises the ``DomainError`` that says why there is none."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    match await self._message():
                        case protocol.Start() as start:
                            self.audio = Audio(start.encoding(), settings.VOICEAUTH_MAX_AUDIO_SECONDS)
                            return start
                        case protocol.Connected():
                            pass
                        case _:
                            raise MalformedStream
        except TimeoutError as error:
            raise StreamIdle(limit_seconds=START_SECONDS) from error

    async def listen(self) -> None:
        """Take what comes until the connection ends; ``is_over`` once no more samples are taken.

        It goes on behind the stop message, because who reads nothing answers no ping.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(None if self.is_stopped else IDLE_SECONDS):
                        self._take(await self._message())
                except TimeoutError as error:
                    raise StreamIdle(limit_seconds=IDLE_SECONDS) from error
                if self.audio.sound_seconds >= self._awaited_seconds or self.is_over:
                    self._ready.set()
        except DomainError as error:
            if not self.is_stopped:  # a platform that has said stop may hang up before the answer
                self.ended = error
        finally:
            self._ready.set()

    def cut_off(self) -> None:
        """Wait for no more."""
        if not self.is_stopped:
            self.ended = ServerStopping(retry_after_seconds=1)
        self._ready.set()

    async def sound(self, seconds: float) -> None:
        """Wait until there are so many seconds of sound, or no more comes."""
        self._awaited_seconds = seconds
        self._ready.clear()
        if self.audio.sound_seconds < seconds and not self.is_over:
            await self._ready.wait()

    async def _message(self) -> protocol.Message | bytes:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise StreamBroken
        if (samples := message.get("bytes")) is not None:
            if len(samples) > protocol.MOST_BYTES:
                raise MalformedStream
            return bytes(samples)
        return protocol.read(message["text"])

    def _take(self, message: protocol.Message | bytes) -> None:
        match message:
            case bytes():
                self.audio.add(message)
            case protocol.Media(media=media):
                # A message that is sent again brings nothing new.
                if media.track == protocol.CALLER and (not media.chunk or media.chunk > self._chunk):
                    self._chunk = media.chunk
                    self.audio.add(media.payload)
            case protocol.Stop():
                self.is_stopped = True
            case protocol.Start():
                raise MalformedStream


class _Conversation:
    """One stream, from the start message to the close."""

    def __init__(self, streams: Streams, line: _Line, send: Send, client: ApiClient | None, actor: Actor) -> None:
        self._streams, self._line, self._send, self._client, self._actor = streams, line, send, client, actor
        self._call: steps.Call | None = None
        self._stream_sid = ""
        self._is_answered = False

    async def hold(self) -> None:
        """Answer the call, and close the connection."""
        try:
            start = await self._line.start()
            self._stream_sid = start.start.streamSid
            if len(self._streams.lines) >= settings.VOICEAUTH_STREAMS:
                raise TooManyStreams(retry_after_seconds=1)
            self._streams.lines.add(self._line)
            metrics.STREAMS.inc()
            listening = asyncio.create_task(self._line.listen())
            try:
                await self._carry_out(start)
                # The web server ends the connection with its close, and samples that are on their way then reset it:
                # a client that has not read the answer yet could lose it.
                await asyncio.wait([listening], timeout=READING_SECONDS)
            finally:
                self._streams.lines.remove(self._line)
                metrics.STREAMS.dec()
                listening.cancel()
                await asyncio.wait([listening])  # the web server closes nothing that is being read
            await self._send({"type": "websocket.close", "code": 1000, "reason": ""})
        except Exception as error:
            await self._fail(error)

    async def _carry_out(self, start: protocol.Start) -> None:
        parameters = start.start.customParameters
        call = self._call = await self._in_thread(steps.begin, self._client, parameters, self._actor)
        await self._say("started", stream_id=str(call.stream_id), answer_after_seconds=call.needed_seconds)
        decision = await self._answer(call)
        if call.claim.follow_seconds and decision.model_version:
            await self._follow(call, decision)

    async def _fail(self, error: Exception) -> None:
        is_gone = isinstance(error, StreamBroken)
        if is_gone and (self._call is None or self._is_answered):
            return  # nothing was asked, or the answer is there
        failure, told = await self._in_thread(steps.refuse, error, self._actor, self._call)
        with contextlib.suppress(StreamBroken):
            if not is_gone:
                await self._say("error", error=told)
                await self._send({"type": "websocket.close", "code": 4000 + failure.status, "reason": failure.code})

    async def _answer(self, call: steps.Call) -> Decision:
        """Decide once there is enough speech, or when the call stops, on what there is."""
        line, needed = self._line, call.needed_seconds
        awaited, attempts = needed, ATTEMPTS
        while True:
            await line.sound(awaited)
            if line.ended is not None:
                raise line.ended
            audio, sound = bytes(line.audio.content), line.audio.sound_seconds
            at_least = 0.0 if line.is_over else needed
            try:
                decision, told = await self._in_thread(steps.verify, call, audio, line.audio.encoding, at_least)
            except MoreSpeechNeeded as error:
                speech = float(error.data["speech_seconds"])
                awaited = sound + max(needed - speech, LEAST_STEP_SECONDS)
                await self._say("progress", speech_seconds=round(speech, 2))
            except DomainError as error:
                attempts -= 1
                if "retry_after_seconds" not in error.data or not attempts:
                    raise
                await asyncio.sleep(error.data["retry_after_seconds"])
            else:
                self._is_answered = True
                heard = round(len(audio) / line.audio.width / protocol.RATE, 3)
                await self._say("decision", audio_seconds=heard, decision=told)
                return decision

    async def _follow(self, call: steps.Call, decision: Decision) -> None:
        """Compare the call again after each so many further seconds of sound, until it stops."""
        line, changed = self._line, False
        line.audio.roll(FOLLOWED_SECONDS)
        while True:
            await line.sound(line.audio.sound_seconds + call.claim.follow_seconds)
            if line.is_stopped or line.ended is not None:
                break
            audio, encoding = bytes(line.audio.content), line.audio.encoding
            try:
                found = await self._in_thread(steps.follow, call, decision, audio, encoding, not changed)
            except DomainError:
                continue  # an update may be left out: the call is answered
            changed = changed or found["speaker_changed"]
            await self._say("update", **found)
        if line.ended is not None:
            raise line.ended

    async def _in_thread(self, step: Callable[..., T], *arguments: Any) -> T:
        return await self._streams.in_thread(step, *arguments)

    async def _say(self, event: str, **content: Any) -> None:
        told = {"event": event, "streamSid": self._stream_sid} if self._stream_sid else {"event": event}
        try:
            await self._send({"type": "websocket.send", "text": _json(told | content)})
        except RuntimeError as error:  # of the web server: the connection is closed
            raise StreamBroken from error


def _with_database(request_id: str, step: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Run a step as Django runs a request."""
    marker = logs.request_id.set(request_id)
    close_old_connections()
    try:
        with preparing():
            return step(*arguments)
    except DATABASE_IS_AWAY as error:
        connection.close()
        raise DatabaseUnavailable(retry_after_seconds=DATABASE_RETRY_SECONDS) from error
    finally:
        close_old_connections()
        logs.request_id.reset(marker)


def _json(content: Any) -> str:
    return json.dumps(content, cls=JSONEncoder)
