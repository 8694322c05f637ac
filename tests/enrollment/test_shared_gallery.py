"""The processes of a real worker share one index, follow the database, and leave nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from pytest_django import Settings

from mltraining import registry
from mltraining.index import Index
from tests.enrollment.test_gallery import enrolled
from tests.support.model import put_into_service, register_untrained
from tests.support.waiting import until
from tests.support.workers import running_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("models_folder")]


def test_a_worker_indexes_and_follows_the_database_and_its_index_goes_when_it_ends(
    tmp_path: Path, settings: Settings
) -> None:
    model = register_untrained(tmp_path)
    put_into_service(model)
    described = json.loads((registry.folder_of(model.version) / "pipeline.json").read_text())
    vector = np.zeros(described["dimensions"], dtype=np.float32)
    vector[:2] = 0.6, 0.8
    customer = enrolled("ann", vector, revision=1, model=model.fingerprint)
    folder = tmp_path / "memory"

    def vectors() -> list[np.ndarray]:
        (path,) = folder.glob("*.index")
        index = Index(path)
        return list(index.vectors[: index.count])

    with running_worker(tmp_path / "w.log", "scoring", concurrency=2, VOICEAUTH_GALLERY_DIR=str(folder)) as worker:
        until(lambda: len(list(folder.glob("*.index"))) == 1)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert np.array_equal(vectors(), [vector])
        customer.delete()
        until(lambda: not np.any(vectors()))  # nobody has searched
        enrolled("bob", vector, revision=2, model=model.fingerprint)
        until(lambda: len(vectors()) == 2)
        worker.stop()
    assert not folder.exists()
