import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from mltraining import registry
from mltraining.errors import ModelNotFound, ModelUnchanged
from mltraining.models import ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining import promotion_states
from voiceauth.retraining.errors import PromotionInProgress

State = ModelVersion.State
ADMIN = Actor(name="ops", role="admin")


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, settings: Any) -> Path:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    return tmp_path / "models"


def trained(folder: Path, fingerprint: str = "ab" * 32, **more: Any) -> Path:
    """What a training leaves, as far as the registry looks at it."""
    (folder / "pipeline").mkdir(parents=True, exist_ok=True)
    (folder / "charts").mkdir(exist_ok=True)
    described = {
        "fingerprint": fingerprint,
        "threshold": 0.5,
        "calibration": {"version": "c1", "slope": 10.0, "offset": -5.0, "prior": 0.02},
        "metrics": {"roc_auc": 0.99, "min_dcf": float("nan")},
        "config": {"training": {"epochs": 2}},
        "data_hash": "d" * 64,
        **more,
    }
    (folder / "pipeline" / "pipeline.json").write_text(json.dumps(described))
    for name in ("encoder.safetensors", "head.safetensors"):
        (folder / "pipeline" / name).write_bytes(b"weights")
    for name in ("losses.png", "roc.png", "confusion_matrix.png"):
        (folder / "charts" / name).write_bytes(b"png")
    return folder


def registered(folder: Path, fingerprint: str = "ab" * 32) -> ModelVersion:
    output = trained(folder, fingerprint)
    return registry.register(version=registry.install(pipeline=output / "pipeline", charts=output / "charts"))


def a_model(version: str, state: str = State.CANDIDATE, **fields: Any) -> ModelVersion:
    return ModelVersion.objects.create(
        version=version,
        fingerprint=version * 8,
        state=state,
        threshold=0.5,
        calibration_version="c1",
        data_hash="d",
        **fields,
    )


def states() -> dict[str, str]:
    return dict(ModelVersion.objects.values_list("version", "state"))


def test_a_model_keeps_its_encoder_and_no_row_or_chart_that_names_a_customer(
    tmp_path: Path, models_folder: Path
) -> None:
    output = trained(tmp_path / "output")
    version = registry.install(pipeline=output / "pipeline", charts=output / "charts")
    kept = {str(path.relative_to(models_folder / version)) for path in (models_folder / version).rglob("*.*")}
    assert kept == {"encoder.safetensors", "pipeline.json", "charts/losses.png", "charts/roc.png"}
    assert [path.name for path in registry.charts_of(version)] == ["losses.png", "roc.png"]


def test_a_pipeline_that_names_a_customer_is_not_installed(tmp_path: Path, models_folder: Path) -> None:
    customer = str(uuid.uuid4())
    output = trained(tmp_path / "output", classes=[customer])
    with pytest.raises(ValueError, match="names a customer"):
        registry.install(pipeline=output / "pipeline", charts=output / "charts", private=[customer])
    assert not models_folder.exists()


@pytest.mark.django_db
def test_a_registered_model_is_a_candidate_with_its_figures(tmp_path: Path) -> None:
    model = registered(tmp_path / "output")
    model.refresh_from_db()
    assert model.state == State.CANDIDATE
    assert model.version.endswith("-ababab")
    assert model.metrics == {"roc_auc": 0.99, "min_dcf": None}
    assert AuditEvent.objects.get(action="model.registered").model_version == model.version


@pytest.mark.django_db
def test_the_same_weights_are_not_registered_twice(tmp_path: Path) -> None:
    registered(tmp_path / "output")
    with pytest.raises(ModelUnchanged):
        registered(tmp_path / "again")


@pytest.mark.django_db
def test_a_promotion_retires_the_model_in_service_and_the_way_back_is_the_same_step() -> None:
    a_model("old", State.ACTIVE, activated_at=timezone.now())
    a_model("new")
    assert promotion_states.begin_promotion(version="new", actor=ADMIN).state == State.PROMOTING
    assert states() == {"old": State.ACTIVE, "new": State.PROMOTING}
    promotion_states.finish_promotion("new")
    assert states() == {"old": State.RETIRED, "new": State.ACTIVE}
    promotion_states.begin_promotion(version="old", actor=ADMIN)
    promotion_states.finish_promotion("old")
    assert states() == {"old": State.ACTIVE, "new": State.RETIRED}
    event = AuditEvent.objects.filter(action="model.promoted").order_by("sequence").last()
    assert event is not None
    assert (event.before, event.after) == ({"active": "new"}, {"active": "old"})
    assert event.data == {"requested_by": "ops"}
    assert event.threshold == 0.5


@pytest.mark.django_db
def test_promoting_the_model_in_service_or_the_same_model_again_changes_nothing() -> None:
    a_model("active", State.ACTIVE)
    a_model("next")
    assert promotion_states.begin_promotion(version="active", actor=ADMIN).state == State.ACTIVE
    promotion_states.begin_promotion(version="next", actor=ADMIN)
    assert promotion_states.begin_promotion(version="next", actor=ADMIN).state == State.PROMOTING
    assert AuditEvent.objects.filter(action="model.promotion_requested").count() == 1


@pytest.mark.django_db
def test_one_promotion_at_a_time() -> None:
    a_model("one"), a_model("two")
    promotion_states.begin_promotion(version="one", actor=ADMIN)
    with pytest.raises(PromotionInProgress):
        promotion_states.begin_promotion(version="two", actor=ADMIN)
    with pytest.raises(ModelNotFound):
        promotion_states.begin_promotion(version="three", actor=ADMIN)


@pytest.mark.django_db
@pytest.mark.parametrize(("served_before", "state"), [(False, State.CANDIDATE), (True, State.RETIRED)])
def test_a_promotion_that_fails_leaves_the_model_in_service_and_says_why(served_before: bool, state: str) -> None:
    a_model("active", State.ACTIVE)
    a_model("next", activated_at=timezone.now() if served_before else None)
    promotion_states.begin_promotion(version="next", actor=ADMIN)
    promotion_states.abort_promotion("next", code="model_unavailable")
    assert states() == {"active": State.ACTIVE, "next": state}
    assert ModelVersion.objects.get(pk="next").promotion_error == "model_unavailable"
    assert AuditEvent.objects.get(action="model.promotion_failed").outcome == "failed"


@pytest.mark.django_db
def test_one_worker_carries_a_promotion_out_and_another_takes_over_where_it_died() -> None:
    a_model("next")
    promotion_states.begin_promotion(version="next", actor=ADMIN)
    assert promotion_states.claim_promotion("next")
    assert not promotion_states.claim_promotion("next")
    ModelVersion.objects.update(promotion_heartbeat_at=timezone.now() - timedelta(minutes=2))
    assert promotion_states.claim_promotion("next")
    promotion_states.release_promotion("next")
    assert promotion_states.claim_promotion("next")
