"""Uploads stay in memory: a caller's voice must not touch the disk unencrypted."""

import io
import math
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from voiceauth.platform.api.parsers import loads
from voiceauth.platform.api.paths import API_PATHS
from voiceauth.platform.errors import DomainError


class UploadTooLarge(DomainError):
    """Carries ``limit_bytes``."""

    code = "upload_too_large"
    status = 413
    message = "The upload is too large."


class UploadTooSlow(DomainError):
    """Carries ``limit_seconds``."""

    code = "upload_too_slow"
    status = 408
    message = "The body took longer than {limit_seconds:g} s to arrive. Send it again over a faster connection."


class TooManyUploads(DomainError):
    """Carries ``retry_after_seconds``."""

    code = "too_many_uploads"
    status = 503
    message = "Too many uploads are arriving at once. Send it again shortly."


class Overloaded(DomainError):
    """More requests come in than can be carried out. Carries ``retry_after_seconds``."""

    code = "overloaded"
    status = 503
    message = "Too many requests are under way. Try again shortly, or use another factor."
    audited = False  # a trail of refusals would slow down those who are served; the metrics count them


def most_bytes(content_type: str) -> int:
    """Return how long the body of a request with this ``Content-Type`` may be."""
    is_form = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE + (settings.VOICEAUTH_MAX_UPLOAD_BYTES if is_form else 0)


class CappedMemoryUploadHandler(FileUploadHandler):
    """Keeps the files of a request in memory, together up to ``VOICEAUTH_MAX_UPLOAD_BYTES``.

    Too large a file is an error of the API; a page's form finds that it was given none.
    """

    received = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        self.file = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep a part of the file. Raises ``UploadTooLarge``."""
        self.received += len(raw_data)
        if self.received > settings.VOICEAUTH_MAX_UPLOAD_BYTES:
            if self.request is None or self.request.path.startswith(API_PATHS):
                raise UploadTooLarge(limit_bytes=settings.VOICEAUTH_MAX_UPLOAD_BYTES)
            raise StopUpload(connection_reset=False)
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        """Return the file, read from its beginning."""
        self.file.seek(0)
        return InMemoryUploadedFile(
            file=self.file,
            field_name=self.field_name,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )


@extend_schema_field(OpenApiTypes.BINARY)
class AudioField(serializers.FileField):
    """An uploaded recording as ``bytes``. An empty one passes: the decoder refuses it, with its own code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_empty_file=True, **kwargs)

    def to_internal_value(self, data: Any) -> bytes:
        """Return the recording's bytes."""
        return super().to_internal_value(data).read()


CHANNEL_OR_NOTHING = r"^(left|right|mono|[0-7])?\Z"


class ChannelField(serializers.RegexField):
    """Which channel of a recording to use. Without one, a recording whose channels differ is refused."""

    def __init__(self, **kwargs: Any) -> None:
        given = {
            "regex": CHANNEL_OR_NOTHING,
            "required": False,
            "default": "",
            "allow_blank": True,
            "help_text": "left, right, a number from 0, or mono to mix them. Needed where the recording's channels "
            "differ, unless the policy names a default for the client.",
        }
        super().__init__(**(given | kwargs))


# mulaw, alaw: G.711; s16: linear, little- or big-endian; at 8 kHz unless the name says more.
FORMATS = ("mulaw", "alaw", "s16le", "s16le-16000", "s16be", "s16be-16000", "g722", "gsm")


# Media types of samples without a header (RFC 2046, RFC 4856), but L16, whose parameters say more.
MEDIA_TYPES = {
    "audio/basic": "mulaw",
    "audio/pcmu": "mulaw",
    "audio/pcma": "alaw",
    "audio/g722": "g722",
    "audio/gsm": "gsm",
}
L16_RATES = {b"8000": "s16be", b"16000": "s16be-16000"}


def format_of(upload: Any) -> str:
    """Return the format that the ``Content-Type`` of an uploaded file names, or nothing."""
    kind = (getattr(upload, "content_type", None) or "").lower()
    if kind != "audio/l16":
        return MEDIA_TYPES.get(kind, "")
    given: dict[str, bytes] = upload.content_type_extra or {}
    return L16_RATES.get(given.get("rate", b""), "") if given.get("channels", b"1") == b"1" else ""


class FormatField(serializers.ChoiceField):
    """What samples without a header are, which their bytes do not tell. A file with a header needs none.

    Without it, the ``Content-Type`` of the field ``audio`` counts.
    """

    default_error_messages = {
        "invalid_choice": f"Give one of {', '.join(FORMATS)}, or nothing for a file with a header."
    }

    def __init__(self, **kwargs: Any) -> None:
        given = {
            "choices": FORMATS,
            "required": False,
            "default": "",
            "allow_blank": True,
            "help_text": "Of samples without a header: G.711, 16-bit linear, G.722 or GSM 06.10; else the Content-Type "
            "of the file says it. A file with a header is read by its header, whatever this says.",
        }
        super().__init__(**(given | kwargs))

    def get_value(self, dictionary: Any) -> Any:
        """Return the field's value, or else what the file's ``Content-Type`` says."""
        given = super().get_value(dictionary)
        return given if given not in (serializers.empty, "") else format_of(dictionary.get("audio")) or given


MAX_INTERVALS = 20


@extend_schema_field(OpenApiTypes.STR)
class IntervalList(serializers.Field):
    """Stretches of a recording in seconds, ``[[start, end], …]``, as JSON: a form's field holds text."""

    default_error_messages = {
        "invalid": "Give JSON like [[12.0, 17.5]]: start and end in seconds, start before end, at most 20 of them."
    }

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "help_text", "JSON [[start, end], …] in seconds: what is neither stored nor scored, such as a card number."
        )
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> list[list[float]]:
        """Return the stretches. Raises ``ValidationError``."""
        try:
            found = [[float(start), float(end)] for start, end in loads(data)]
        except (TypeError, ValueError):
            self.fail("invalid")
        if len(found) > MAX_INTERVALS or not all(0 <= start < end < math.inf for start, end in found):
            self.fail("invalid")
        return found

    def to_representation(self, value: Any) -> Any:
        """Return the stretches as they are."""
        return value
