"""Models: promoted, rolled back and shown with their charts."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from mltraining.models import ModelVersion
from tests.support.model import make_model
from tests.support.people import SignIn
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("state", "button"), [("CANDIDATE", "promote"), ("RETIRED", "roll-back")])
def test_promoting_and_rolling_back_start_the_real_promotion(signed_in: SignIn, state: str, button: str) -> None:
    model, client = make_model(state=state), signed_in("admin")
    path = f"/admin/mltraining/modelversion/{model.pk}/do/{button}/"
    assert path in client.get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()
    assert client.post(path).status_code == 302
    model.refresh_from_db()
    assert (model.state, model.promotions.get().requested_by) == (ModelVersion.State.PROMOTING, "user:grace")
    assert AuditEvent.objects.filter(action="model.promotion_requested", actor="user:grace").exists()


def test_a_second_promotion_is_refused_while_one_is_under_way(signed_in: SignIn) -> None:
    make_model("20261101-000000-aaaaaa", state="PROMOTING")
    model = make_model()
    response = signed_in("admin").post(f"/admin/mltraining/modelversion/{model.pk}/do/promote/")
    assert "errorlist" in response.content.decode()
    model.refresh_from_db()
    assert model.state == ModelVersion.State.CANDIDATE


def test_the_active_model_offers_no_promotion(signed_in: SignIn) -> None:
    model = make_model(state="ACTIVE")
    assert "/do/" not in signed_in("admin").get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()


def test_a_model_s_charts_are_served_and_nothing_beside_them(
    signed_in: SignIn, settings: Settings, tmp_path: Path
) -> None:
    settings.VOICEAUTH_MODELS_DIR = tmp_path
    model = make_model()
    charts = tmp_path / model.version / "charts"
    charts.mkdir(parents=True)
    (charts / "roc.png").write_bytes(b"\x89PNG picture")
    (charts / "other.png").write_bytes(b"not listed")
    (charts.parent / "pipeline.json").write_text("{}")
    client, base = signed_in("reviewer"), f"/admin/mltraining/modelversion/{model.version}/charts"
    response: Any = client.get(f"{base}/roc.png")
    assert b"".join(response.streaming_content) == b"\x89PNG picture"
    assert f"{base}/roc.png" in client.get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()
    for name in ("other.png", "..%2fpipeline.json", "%2e%2e/pipeline.json"):
        assert client.get(f"{base}/{name}").status_code in {302, 404}
    assert signed_in("teller").get(f"{base}/roc.png").status_code == 403


def test_a_model_s_page_says_whose_an_imported_encoder_is(signed_in: SignIn) -> None:
    client = signed_in("reviewer")
    about = {"name": "Small", "origin": "elsewhere", "licence": "MIT", "licence_text": "As you <like>."}
    imported, own = make_model("20261101-000000-aaaaaa", imported=about), make_model()
    page = client.get(f"/admin/mltraining/modelversion/{imported.pk}/change/").content.decode()
    for part in ("Small, imported: elsewhere", "MIT", "<pre>As you &lt;like&gt;.</pre>"):
        assert part in page
    assert "trained here" in client.get(f"/admin/mltraining/modelversion/{own.pk}/change/").content.decode()
