"""How the time of a request is divided among its stages."""

import time

import pytest

from voiceauth.platform import stages


def test_a_stage_within_a_stage_counts_only_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 6.0])  # the outer begins, the inner begins and ends, the outer ends
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with stages.recorded() as spent, stages.timed("database"), stages.timed("audit"):
        pass
    assert spent == {"audit": 3.0, "database": 3.0}


def test_what_another_process_spent_is_no_part_of_the_stage_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with stages.recorded() as spent, stages.timed("web"):
        stages.add({"network": 4.0})
        stages.add({"network": 0.5})
    assert spent == {"network": 4.5, "web": 0.5}


def test_nothing_is_collected_outside_of_a_request() -> None:
    with stages.timed("audit"):
        stages.add({"network": 1.0})
    with stages.recorded() as spent:
        pass
    assert spent == {}
