"""What a wake-up says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.wakeup import BYTES_MAX, EVERYWHERE, HUNGRY, VACANT, Note, decode, decode_notes, encode

numbers = st.integers(0, 2**31 - 1)
lanes = st.tuples(numbers, numbers, numbers, st.integers(0, 15))


@given(st.lists(lanes, max_size=20))
def test_lanes_come_back_as_they_were(said: list[tuple[int, int, int, int]]) -> None:
    assert decode(encode(said)) == said


@given(st.lists(lanes, max_size=3000))
def test_payload_always_fits_into_a_notification(said: list[tuple[int, int, int, int]]) -> None:
    assert len(encode(said).encode()) <= BYTES_MAX


def test_too_many_lanes_become_everywhere() -> None:
    assert encode([(2**31 - 1, 2**31 - 1, 2**31 - 1, 15)] * 300) == EVERYWHERE
    assert decode(EVERYWHERE) is None


@pytest.mark.parametrize(
    ("payload", "lanes"), [("", []), ("a.b.c.d", None), ("1.2.3", []), ("1.2.3.4 x", None), ("1.2.3.4 5.6", [(1, 2, 3, 4)])]
)
def test_strangers_words_do_no_harm(payload: str, lanes: list[tuple[int, int, int, int]] | None) -> None:
    assert decode(payload) == lanes


notes = st.tuples(st.sampled_from([HUNGRY, VACANT]), numbers, numbers)


@given(st.lists(lanes, max_size=20), st.lists(notes, max_size=20))
def test_notes_come_back_beside_the_lanes(said: list[tuple[int, int, int, int]], noted: list[Note]) -> None:
    payload = encode(said, noted)
    assert decode(payload) == said
    assert decode_notes(payload) == noted


@pytest.mark.parametrize("payload", ["", "?", "!x.1", "?1", "?1.x", "*", "1.2.3.4", "?-1.2", "?\u0664.1"])
def test_strangers_notes_are_left_out(payload: str) -> None:
    assert decode_notes(payload) == []
