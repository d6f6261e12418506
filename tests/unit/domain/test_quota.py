import math

import pytest

from jobqueue.domain.quota import DRAIN_WINDOW_S, RETRY_S_MAX, RETRY_S_MIN, DrainRate, effective_limit, room_for_waiting


@pytest.mark.parametrize(("own", "default", "limit"), [(None, 10, 10), (5, 10, 5), (0, 10, None), (None, 0, None)])
def test_a_limit_of_none_is_zero_and_one_not_set_is_the_default(own: int | None, default: int, limit: int | None) -> None:
    assert effective_limit(own, default) == limit


def test_room_is_what_is_left_of_the_limit() -> None:
    assert [room_for_waiting(waiting=waiting, limit=10) for waiting in (0, 9, 10, 12)] == [10, 1, 0, 0]
    assert room_for_waiting(waiting=10**9, limit=None) == math.inf


def drained(*looks: tuple[int, float]) -> DrainRate:
    drain = DrainRate()
    for gone, at in looks:
        drain.look(gone, now_s=at)
    return drain


def test_a_caller_is_told_the_time_the_queue_takes_to_make_room_for_what_it_asked() -> None:
    drain = drained((1000, 50.0), (1100, 60.0))
    assert drain.retry_after_s(1) == RETRY_S_MIN
    assert drain.retry_after_s(200) == pytest.approx(20)
    assert drain.retry_after_s(10_000) == RETRY_S_MAX


def test_nothing_that_moves_is_told_late_and_nothing_known_soon() -> None:
    assert drained((7, 50.0), (7, 55.0)).retry_after_s(1) == RETRY_S_MAX
    assert drained((7, 50.0)).retry_after_s(1) == RETRY_S_MIN
    assert drained((7, 50.0), (8, 50.01)).per_s is None


def test_the_pace_is_that_of_the_last_moments() -> None:
    looks = [(int(10 * at), float(at)) for at in range(30)]
    looks += [(300, 30.0 + at) for at in range(int(3 * DRAIN_WINDOW_S))]
    assert drained(*looks).per_s == 0
