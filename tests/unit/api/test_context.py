import pytest

from jobqueue.api.context import read_traceparent

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("text", [GOOD, GOOD[:-2] + "00", "cc" + GOOD[2:], "cc" + GOOD[2:] + "-more"])
def test_a_traceparent_is_taken(text: str) -> None:
    assert read_traceparent(text) == text[:55]


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", GOOD[:-1], GOOD + "0", GOOD + "-more", GOOD.upper(), "ff" + GOOD[2:], " " + GOOD, GOOD + "\n", "cc" + GOOD[2:] + "more"),
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GOOD.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_a_malformed_traceparent_is_as_none(text: str) -> None:
    assert read_traceparent(text) is None
