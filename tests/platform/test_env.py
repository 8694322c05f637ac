"""Reading the environment."""

import pytest

from voiceauth.platform import env


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" a , b ,, ", ["a", "b"]),
        ("localhost,127.0.0.1,[::1]", ["localhost", "127.0.0.1", "[::1]"]),
        (
            "training.epochs=5,augmentation.speeds=[0.9, 1.1],training.batch_size=8",
            ["training.epochs=5", "augmentation.speeds=[0.9, 1.1]", "training.batch_size=8"],
        ),
    ],
)
def test_a_list_is_split_at_commas_but_not_within_brackets(
    value: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIST", value)
    assert env.words("LIST") == expected


def test_the_database_is_planned_for_fast_disks_unless_its_address_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://bank@db/voices?options=-c%20random_page_cost%3D4")
    assert env.database("DATABASE_URL")["OPTIONS"]["options"] == "-c random_page_cost=1.1 -c random_page_cost=4"
    monkeypatch.setenv("DATABASE_URL", "postgresql://bank@db/voices")
    assert env.database("DATABASE_URL")["OPTIONS"]["options"] == "-c random_page_cost=1.1"
