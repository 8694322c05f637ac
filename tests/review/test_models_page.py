"""Models: promoted, rolled back and shown with their charts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from mltraining.models import ModelVersion
from tests.support.evidence import COMPARISON, DISTRIBUTION, ENOUGH, EVALUATION
from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.rows import make_decision
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
    page = signed_in("admin").get(f"/admin/mltraining/modelversion/{model.pk}/change/").content.decode()
    assert "/do/recalibrate/" in page
    assert not any(f"/do/{action}/" in page for action in ("promote", "force", "roll-back"))


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


MEASURED = replace(ENOUGH, distribution=DISTRIBUTION)
CHAMPION = "20261101-000000-aaaaaa"


def page_of(signed_in: SignIn, model: ModelVersion, part: str = "change/", role: str = "reviewer") -> str:
    response = signed_in(role).get(f"/admin/mltraining/modelversion/{model.pk}/{part}")
    assert response.status_code == 200
    return response.content.decode()


def test_a_challenger_is_shown_beside_the_champion_on_the_same_trials(signed_in: SignIn) -> None:
    make_model(CHAMPION, state="ACTIVE", measured_on=MEASURED)
    page = page_of(signed_in, make_model(metrics={"comparison": COMPARISON}))
    assert "Champion against challenger" in page
    assert "1,000 target and 20,000 impostor trials of 100 speakers of the frozen set" in page
    assert f"{CHAMPION} (champion)" in page
    for part in ("Detection error trade-off", "Calibration: measured", "g711-female", "-0.75 (-1.25 to -0.25) points"):
        assert part in page


def test_without_a_comparison_each_model_stands_on_its_own_trials_and_the_page_says_so(signed_in: SignIn) -> None:
    make_model(CHAMPION, state="ACTIVE", measured_on=replace(MEASURED, source="the frozen set"))
    page = page_of(signed_in, make_model(measured_on=MEASURED))
    assert f"{CHAMPION} on 40 target and 4,000 impostor trials of 40 speakers: the frozen set." in page
    assert "the trials of its own calibration" in page
    assert page.count('class="va-distribution"') == 2
    assert "% of the impostor trials reach the threshold" in page


def test_a_comparison_that_kept_no_distributions_is_still_listed(signed_in: SignIn) -> None:
    older = {name: value for name, value in COMPARISON.items() if name not in ("condition", "distributions")}
    older["differences"] = [{key: each[key] for key in each if key != "trials"} for each in COMPARISON["differences"]]
    page = page_of(signed_in, make_model(metrics={"comparison": older}))
    assert "Slice by slice" in page
    assert "Detection error" not in page


def test_an_evaluation_names_its_trials_and_stands_beside_one_on_as_many(signed_in: SignIn) -> None:
    fewer = EVALUATION | {"gsm cllr": EVALUATION["gsm cllr"] | {"speakers": 7}}
    make_model(CHAMPION, state="ACTIVE", metrics={"evaluation": fewer})
    page = page_of(signed_in, make_model(metrics={"evaluation": EVALUATION}))
    assert "Evaluation on calls-of-november" in page
    assert page.count("1.75 % (1.25 to 2.25)") == 2  # of both models
    assert page.count("0.091 (0.080 to 0.100)") == 1


def test_a_model_card_tells_what_the_registry_knows(signed_in: SignIn) -> None:
    model = make_model(metrics={"comparison": COMPARISON, "evaluation": EVALUATION})
    response = signed_in("auditor").get(f"/admin/mltraining/modelversion/{model.pk}/card.md")
    card = response.content.decode()
    assert response["Content-Disposition"] == f"attachment; filename=model-{model.version}.md"
    for part in (model.fingerprint, "40 target and 4000 impostor trials of 40 speakers", "| 0.1 % | +4.00 |", "-0.75"):
        assert part in card
    assert "| gsm | Cllr | 0.091 (0.080 to 0.100) |" in card


def test_thresholds_are_tried_on_past_calls(signed_in: SignIn) -> None:
    model = make_model(state="ACTIVE")  # at even odds it accepts from a ratio of 0 for 1 %, and of 4 for 0.1 %
    for ratio, decision in ((5, "ACCEPT"), (2, "ACCEPT"), (3, "REJECT"), (-1, "REJECT")):
        make_decision(log_likelihood_ratio=ratio, decision=decision)
    make_decision(log_likelihood_ratio=9, decision="REJECT", reasons=["REPLAY"])
    make_decision(log_likelihood_ratio=9, decision="MATCH", kind="identify")
    make_decision(log_likelihood_ratio=9, model_version="another")
    old = make_decision(log_likelihood_ratio=9)
    type(old).objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=8))
    response = signed_in("reviewer").get(
        f"/admin/mltraining/modelversion/{model.pk}/thresholds/", {"days": "7", "probability": "0.924"}
    )
    assert [response.context[name] for name in ("total", "accepted", "rejected")] == [4, 2, 2]
    found = {
        each.name: (each.accepted, each.rejected, each.newly_accepted, each.newly_rejected)
        for each in response.context["outcomes"]
    }
    assert found == {
        "false-accept rate 1 %": (3, 1, 1, 0),
        "probability 0.924": (2, 2, 1, 1),
        "false-accept rate 0.1 %": (1, 3, 0, 1),
    }


@pytest.mark.parametrize("query", [{}, {"days": "x"}, {"days": "7", "probability": "2"}, {"probability": "0.5"}])
def test_a_preview_of_no_calls_says_so_whatever_is_asked(signed_in: SignIn, query: dict[str, str]) -> None:
    model = make_model(state="ACTIVE")
    page = signed_in("admin").get(f"/admin/mltraining/modelversion/{model.pk}/thresholds/", query)
    assert "has decided no verification" in page.content.decode()
    bare = make_model(CHAMPION, measured_on=None)
    assert "no calibration" in page_of(signed_in, bare, "thresholds/")


@pytest.mark.parametrize("part", ["thresholds/", "card.md", "change/"])
def test_a_model_is_shown_to_no_teller(signed_in: SignIn, part: str) -> None:
    path = f"/admin/mltraining/modelversion/{make_model().pk}/{part}"
    assert signed_in("teller").get(path).status_code == 403
    assert signed_in("nobody").get(path).status_code == 403
    assert {signed_in(role).get(path).status_code for role in ("reviewer", "admin", "auditor")} == {200}
    assert signed_in("admin").get(f"/admin/mltraining/modelversion/none/{part}").status_code in {302, 404}
