"""Numbers in answers are rounded for people; a probability keeps its distance to 0 and to 1."""

import pytest

from voiceauth.platform.api.serializers import rounded, rounded_probability, rounded_throughout


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.345678, 12.35), (-3.33431, -3.334), (0.000123456, 0.0001235), (0.0, 0.0), (1234567.0, 1235000.0)],
)
def test_a_number_has_four_significant_digits(value: float, shown: float) -> None:
    assert rounded(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.94628899, 0.94629),
        (0.99998123456, 0.99998123),
        (0.0000123456, 0.00001235),
        (0.5, 0.5),
        (1.0, 1.0),
        (0.0, 0.0),
    ],
)
def test_a_probability_keeps_its_distance_to_the_nearer_end(value: float, shown: float) -> None:
    assert rounded_probability(value) == pytest.approx(shown, abs=1e-15)


def test_numbers_within_json_are_rounded_and_everything_else_stays() -> None:
    given = {
        "probability": 0.99998123456,
        "rows": [{"snr_db": 21.23456, "count": 123456}],
        "name": "1.23456",
        "no": None,
    }
    assert rounded_throughout(given) == {
        "probability": 0.99998123,
        "rows": [{"snr_db": 21.23, "count": 123456}],
        "name": "1.23456",
        "no": None,
    }
