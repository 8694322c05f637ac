"""The journal of erasures of one test."""

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture
def journal_folder(tmp_path: Path, settings: Settings) -> Path:
    """An empty journal, apart from what other tests have erased."""
    folder = tmp_path / "erasures"
    journal = settings.STORAGES["erasures"]
    own = journal | {"OPTIONS": journal["OPTIONS"] | {"location": str(folder)}}
    settings.STORAGES = settings.STORAGES | {"erasures": own}
    return folder
