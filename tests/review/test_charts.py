"""The inline charts: exact marks on small input."""

import pytest

from voiceauth.review.charts import line_chart, metrics_table, probability_bar, progress_bar, stacked_bars


@pytest.mark.parametrize(
    ("probability", "tone"), [(0.5, "va-over"), (0.4999, "va-under"), (1.0, "va-over"), (0.0, "va-under")]
)
def test_a_bar_is_over_from_its_threshold_on(probability: float, tone: str) -> None:
    assert tone in probability_bar(probability, 0.5)


def test_a_bar_is_as_long_as_its_probability() -> None:
    assert 'width="90.0"' in probability_bar(0.75, 0.5)


def test_a_missing_probability_is_said_not_drawn() -> None:
    assert "<svg" not in probability_bar(None, 0.5)


def test_a_bar_without_a_threshold_has_no_tick() -> None:
    assert "va-tick" not in probability_bar(0.7, None)


@pytest.mark.parametrize(("percent", "shown"), [(-3, "0 %"), (46.4, "46 %"), (140, "100 %")])
def test_progress_stays_between_0_and_100(percent: float, shown: str) -> None:
    assert shown in progress_bar(percent)


def test_a_line_chart_has_one_dot_a_value_and_skips_what_is_missing() -> None:
    chart = line_chart("Loss", {"train loss": [0.5, 0.4, 0.3], "validation loss": [None, 0.6, 0.5]})
    assert chart.count("<circle") == 5
    assert chart.count("<polyline") == 2


def test_a_line_chart_of_one_epoch_or_equal_values_can_be_drawn() -> None:
    assert line_chart("Loss", {"loss": [0.0]}).count("<circle") == 1
    assert line_chart("Loss", {"loss": [0.3, 0.3]}).count("<circle") == 2


def test_a_line_chart_without_values_is_empty() -> None:
    assert line_chart("Loss", {"loss": [None]}) == ""
    assert line_chart("Loss", {}) == ""


def test_names_in_charts_are_escaped() -> None:
    assert "<b>" not in line_chart("Loss", {"<b>x": [1.0]})
    assert "<b>" not in metrics_table([{"<b>x": 1.0}])


def test_a_table_has_every_metric_that_any_epoch_has() -> None:
    table = metrics_table([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "roc_auc": 0.987654}])
    assert table.count("<tr>") == 3
    assert "0.98765" in table
    assert "—" in table


def test_stacked_bars_skip_empty_parts() -> None:
    chart = stacked_bars("Decisions", ["10:00", "11:00"], {"accepted": [2, 0], "refused": [1, 0]})
    assert chart.count("<rect") == 2
    assert "3 in all, at most 3 in one hour" in chart
