"""Failures of erasures that callers may see."""

from voiceauth.platform.errors import NotFound


class ErasureNotFound(NotFound):
    """There is no such erasure, or the caller may not see it."""

    code = "erasure_not_found"
    message = "There is no such erasure."
