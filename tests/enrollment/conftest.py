"""Fixtures of the enrollment's tests."""

import pytest

from voiceauth.platform import vault


@pytest.fixture
def unwrapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The contexts of the keys that were unwrapped, in order."""
    opened: list[str] = []
    inner = vault.open_data_key

    def counting(wrapped: bytes, context: str) -> bytes:
        opened.append(context)
        return inner(wrapped, context)

    monkeypatch.setattr(vault, "open_data_key", counting)
    return opened
