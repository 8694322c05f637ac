"""A storage of the test's own, and manifests in it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from enrollment.batches import processing, services
from enrollment.batches.models import BatchEnrollment
from tests.support.customers import TELLER
from tests.support.stand_in import recording

CONSENT = {"purpose": "voice_authentication", "text_version": "2026-09", "origin": "branch"}


@pytest.fixture
def storage(tmp_path: Path, settings: Settings) -> Path:
    """The folder behind ``STORAGES["batches"]``."""
    folder = tmp_path / "bank"
    folder.mkdir()
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}
    settings.STORAGES = settings.STORAGES | {"batches": backend}
    return folder


def put(storage: Path, location: str, content: bytes) -> str:
    path = storage / location
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return location


def said(storage: Path, voice: str, take: int = 1, **measured: Any) -> str:
    """The location of a recording: 30 s of speech, unless told otherwise."""
    return put(storage, f"{voice}/{take}.wav", recording(voice, take, **({"speech_seconds": 30.0} | measured)))


def line(customer_id: str, *audio: str, **fields: Any) -> dict[str, Any]:
    return {"customer_id": customer_id, "audio": list(audio), "consent": CONSENT} | fields


def json_lines(lines: Iterable[Any]) -> bytes:
    return b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines)


def submitted(*lines: Any, **options: Any) -> BatchEnrollment:
    return services.submit(manifest=json_lines(lines), actor=TELLER, **options)


def carried_out(batch: BatchEnrollment) -> BatchEnrollment:
    assert processing.execute(batch.id)
    batch.refresh_from_db()
    return batch


def results(batch: BatchEnrollment) -> list[tuple[str, str, str]]:
    """Customer, state and code of each."""
    return list(batch.results.order_by("line").values_list("customer_id", "state", "code"))
