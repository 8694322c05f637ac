"""The demo's figures on answers whose figures are known."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from voiceauth.demo import recipe, report
from voiceauth.demo.cast import Cast, Speaker
from voiceauth.demo.client import Client, Clients
from voiceauth.demo.story import Results, Search, Trial


def _answer(decision: str, probability: float | None = None) -> dict[str, Any]:
    return {"decision": decision, "probability": probability, "threshold": 0.5, "speech_seconds": 3.25}


@pytest.fixture
def results() -> Results:
    speakers = [Speaker("anna", [b"a"] * 4, [b"c"]), Speaker("ben", [b"b"] * 4, [b"d"])]
    told = Results(
        Cast(speakers, Speaker("new", [], []), Speaker("other", [], []), "two voices"), {"training.epochs": 1}
    )
    told.customers = {"anna": "demo-1", "ben": "demo-2", "new": "demo-3"}
    told.run, told.model = {"id": "run-1"}, {"version": "model-1"}
    told.trials = [
        Trial("anna", "anna", _answer("ACCEPT", 0.9)),
        Trial("anna", "ben", _answer("REJECT", 0.1)),
        Trial("ben", "ben", _answer("REJECT", 0.4)),
        Trial("ben", "anna", _answer("NOT_ENOUGH_SPEECH")),
    ]

    def row(customer: str, ratio: float) -> dict[str, Any]:
        return {"customer_id": customer, "log_likelihood_ratio": ratio, "over_threshold": ratio > 0}

    told.searches = [
        Search("anna", {"results": [row("demo-1", 2.0), row("demo-2", 1.0)]}),
        Search("ben", {"results": [row("demo-1", 1.5), row("demo-2", 0.5)]}),
        Search("ben", {"results": []}),
    ]
    told.newcomer = [Trial("new", "new", _answer("ACCEPT", 0.8)), Trial("other", "new", _answer("REJECT", 0.1))]
    told.refused_uploads["not_enough_speech"] = 2
    told.approved_uploads = 1
    return told


def _shown(results: Results) -> str:
    written = io.StringIO()
    console = Console(file=written, width=160)
    clients = Clients(*(Client("http://localhost:1", "token") for _ in range(5)))
    clients.ivr.milliseconds["/verify"] = [10.0] * 99 + [1000.0]
    report.show(results, clients, console, "http://localhost:1")
    text = written.getvalue()
    return " ".join(text.replace("│", " ").split())


def test_rates_count_only_the_trials_that_were_decided(results: Results) -> None:
    shown = _shown(results)
    assert "false rejects 50.00% 1 of 2" in shown
    assert "false accepts 0.00% 0 of 1" in shown
    assert "not decided: NOT_ENOUGH_SPEECH 25.00% 1 of 4" in shown
    assert "enrollment recordings refused: not_enough_speech 25.00% 2 of 8" in shown
    assert "enrollment recordings held, and approved by the reviewer 12.50% 1 of 8" in shown


def test_identification_is_over_the_calls_that_were_ranked(results: Results) -> None:
    shown = _shown(results)
    assert "rank-1 identification 50.00% 1 of 2" in shown
    assert "not ranked 33.33% 1 of 3" in shown
    assert "impostor rows over the threshold 100.00% 2 of 2" in shown


def test_latencies_and_addresses_and_overrides_are_shown(results: Results) -> None:
    shown = _shown(results)
    assert "/verify 100 10 ms" in shown
    assert "/admin/retraining/trainingrun/run-1/change/" in shown
    assert "training.epochs=1" in shown


def test_roc_auc_counts_ties_half() -> None:
    assert report.roc_auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == (1 + 1 + 1 + 0.5) / 4


def test_a_good_story_has_no_problem_and_a_wrong_one_says_which(results: Results) -> None:
    assert report.problems(results) == []
    results.newcomer = [Trial("new", "new", _answer("REJECT", 0.2)), Trial("other", "new", _answer("ACCEPT", 0.9))]
    assert len(report.problems(results)) == 2


@pytest.mark.parametrize("overrides", [recipe.SPEECH, recipe.SYNTHETIC])
def test_the_service_takes_the_demos_overrides(overrides: dict[str, Any]) -> None:
    from voiceauth.retraining.training_settings import resolve

    assert resolve(overrides).training.loss_function == "CosineBCE"
