"""What is left of a call's time when it has waited for its connection."""

import pytest

from jobqueue.store.leases import CLAIM_S_MAX, SETTLE_S_MAX
from jobqueue.store.pool import CONNECT_S_MAX, DEADLINE_S, POOL_WAIT_S_MAX, left_s

WORKER_CALL_S_MAX = 10.0


@pytest.mark.parametrize(
    ("deadline_s", "waited_s", "left"),
    [(9.5, 0.0, 9.5), (9.5, 1.0, 8.5), (9.5, 7.0, DEADLINE_S), (DEADLINE_S, 3.0, DEADLINE_S), (0.3, 5.0, 0.3)],
)
def test_the_wait_counts_but_not_against_what_any_call_gets(deadline_s: float, waited_s: float, left: float) -> None:
    assert left_s(deadline_s, waited_s) == left


@pytest.mark.parametrize("deadline_s", [CLAIM_S_MAX, SETTLE_S_MAX, DEADLINE_S])
@pytest.mark.parametrize("waited_s", [0.0, POOL_WAIT_S_MAX, CONNECT_S_MAX])
def test_no_call_of_a_worker_takes_ten_seconds(deadline_s: float, waited_s: float) -> None:
    assert waited_s + left_s(deadline_s, waited_s) < WORKER_CALL_S_MAX
