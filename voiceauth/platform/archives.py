"""Recordings that leave the service: a ZIP file that is made in memory, handed out once, and stored nowhere."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpResponse
from rest_framework import renderers


class Zip(renderers.JSONRenderer):
    """Lets a client ask for a ZIP file by ``Accept``. Refusals stay JSON."""

    media_type = "application/zip"
    format = "zip"


def made(recordings: Iterable[tuple[str, bytes]], manifest: Mapping[str, Any]) -> bytes:
    """Return a ZIP file of recordings, name and content each, and of a ``manifest.json``."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, audio in recordings:
            archive.writestr(name, audio)
        archive.writestr("manifest.json", json.dumps(manifest))
    return content.getvalue()


def download(archive: bytes, name: object) -> HttpResponse:
    """Answer with a ZIP file that is saved as ``name``.zip."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return HttpResponse(archive, content_type=Zip.media_type, headers=headers)
