import pytest

from mltraining import deadlines
from mltraining.deadlines import CallAbandoned


def test_a_recording_of_two_minutes_is_given_more_time_and_a_short_one_is_not() -> None:
    told: list[float] = []
    with deadlines.caller_waits(30.0, told.append):
        before = deadlines.left()
        deadlines.allow_for(deadlines.INCLUDED_SECONDS)
        assert told == []
        deadlines.allow_for(120.0)
        after = deadlines.left()
    assert told == [pytest.approx(10.0)]
    assert before is not None and after is not None and after > before


def test_what_nobody_waits_for_stops_and_is_given_no_more_time() -> None:
    told: list[float] = []
    with deadlines.caller_waits(0.0, told.append):
        for step in (deadlines.check, deadlines.left, lambda: deadlines.allow_for(120.0)):
            with pytest.raises(CallAbandoned):
                step()
    assert told == []


def test_whoever_is_in_no_hurry_has_no_deadline() -> None:
    deadlines.check()
    deadlines.allow_for(120.0)
    assert deadlines.left() is None
