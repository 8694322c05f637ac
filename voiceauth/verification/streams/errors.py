"""Failures of streamed calls that callers may see. The connection is closed with 4000 and the status."""

from voiceauth.platform.errors import DomainError, NotFound


class MalformedStream(DomainError):
    """A message is not one of the protocol, or comes at the wrong time."""

    code = "malformed_stream"
    message = "The message cannot be read. Send start, then media or binary messages, then stop, as docs/api.md says."


class InvalidTicket(DomainError):
    """The ticket is unknown, used or expired."""

    code = "invalid_ticket"
    status = 401
    message = "The ticket is not valid: it can be used once, within a minute. Get a new one with POST /api/v1/streams."


class UnsupportedMedia(DomainError):
    """Carries ``encodings``: those that are read."""

    code = "unsupported_media"
    status = 415
    message = "`mediaFormat` must be one of `data.encodings`, at 8000 Hz with one channel."


class StreamIdle(DomainError):
    """Carries ``limit_seconds``."""

    code = "stream_idle"
    status = 408
    message = "No message came for {limit_seconds:g} s."


class StreamBroken(DomainError):
    """The connection ended before the call was answered. Nobody is told, but the trail and ``GET /streams/ID``."""

    code = "stream_broken"
    message = "The connection ended before there was an answer, without a stop message. Nothing was decided."


class TooManyStreams(DomainError):
    """Carries ``retry_after_seconds``."""

    code = "too_many_streams"
    status = 503
    message = "This server listens to as many calls as it can. Connect again shortly, or use another factor."


class ServerStopping(DomainError):
    """Carries ``retry_after_seconds``."""

    code = "server_stopping"
    status = 503
    message = "This server is being replaced. Connect again and stream the call from now on, or use another factor."


class StreamNotFound(NotFound):
    """No ticket of this client has this id, or it was made more than an hour ago and led to no decision."""

    code = "stream_not_found"
    message = "There is no such stream."
