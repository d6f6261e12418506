"""What follows an attempt that did not succeed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.retry import Bury, RetryAfter, RetryNow, RetryPolicy, after_crash, after_failure

POLICY = RetryPolicy(attempts_max=5, crashes_max=3, delay_s_base=5.0, delay_s_max=60.0)
ALMOST_ONE = 1 - 2**-53


def delay_s(attempt: int, jitter: float = ALMOST_ONE) -> float:
    decided = after_failure(POLICY, attempt=attempt, jitter=jitter)
    assert isinstance(decided, RetryAfter)
    return decided.delay_s


def test_backoff_doubles_until_its_maximum() -> None:
    assert [round(delay_s(attempt)) for attempt in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert round(after_failure(RetryPolicy(10, 3, 5.0, 60.0), attempt=9, jitter=ALMOST_ONE).delay_s) == 60  # type: ignore[union-attr]


def test_jitter_is_full() -> None:
    assert delay_s(3, jitter=0.0) == 0.0
    assert delay_s(3, jitter=0.5) == 10.0


def test_last_attempt_is_buried_and_the_one_before_is_not() -> None:
    assert after_failure(POLICY, attempt=5, jitter=0.5) == Bury("attempts exhausted")
    assert isinstance(after_failure(POLICY, attempt=4, jitter=0.5), RetryAfter)


@given(attempt=st.integers(1, 2_000_000), jitter=st.floats(0, 1, exclude_max=True), base=st.floats(0, 1e6), most=st.floats(0, 1e6))
def test_delay_is_within_its_bounds_for_any_attempt(attempt: int, jitter: float, base: float, most: float) -> None:
    decided = after_failure(RetryPolicy(10**9, 3, base, most), attempt=attempt, jitter=jitter)
    assert isinstance(decided, RetryAfter)
    assert 0 <= decided.delay_s <= most


def test_crash_goes_back_at_once_until_crashes_are_used_up() -> None:
    assert after_crash(POLICY, attempt=1, crashes=2) == RetryNow()
    assert after_crash(POLICY, attempt=1, crashes=3) == Bury("crashes exhausted")


def test_crash_of_the_last_attempt_is_buried() -> None:
    assert after_crash(POLICY, attempt=5, crashes=1) == Bury("attempts exhausted")


@pytest.mark.parametrize(("attempt", "jitter"), [(0, 0.5), (1, 1.0), (1, -0.1)])
def test_our_own_mistakes_are_refused(attempt: int, jitter: float) -> None:
    with pytest.raises(AssertionError):
        after_failure(POLICY, attempt=attempt, jitter=jitter)
