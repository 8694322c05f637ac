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
