"""Repeated values are found exactly, up to a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.worker.handler import Discard
from jobqueue.worker.handlers.csv_seen import PLAIN_BYTES_MAX, Seen


@given(st.lists(st.tuples(st.integers(0, 1), st.one_of(st.text(max_size=2), st.sampled_from(["x" * 64, "x" * 65, "x" * 99, "\udc80"])))))
def test_values_are_told_with_their_first_line_as_a_dict_would(values: list[tuple[int, str]]) -> None:
    first: dict[tuple[int, str], int] = {}
    with Seen() as seen:
        for line, (column_no, value) in enumerate(values):
            assert seen.first_line(column_no, value, line) == first.get((column_no, value))
            first.setdefault((column_no, value), line)


def test_digest_is_not_taken_for_a_value_that_spells_it() -> None:
    long = "x" * (PLAIN_BYTES_MAX + 1)
    with Seen() as seen:
        assert seen.first_line(0, long, 1) is None
        assert seen.first_line(0, "x" * PLAIN_BYTES_MAX, 2) is None
        assert seen.first_line(0, long, 3) == 1


def test_bound_of_values_is_kept_and_the_one_after_it_refused() -> None:
    with Seen(values_max=3) as seen:
        for value in "abcab":
            seen.first_line(0, value, 1)
        with pytest.raises(Discard, match="3 different values"):
            seen.first_line(0, "d", 1)
