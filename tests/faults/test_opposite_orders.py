"""The short form of opposite_orders.py."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults import opposite_orders

pytestmark = pytest.mark.slow
ROUNDS_MAX = 5
ACTS = ("submit", "claim", "beat", "settle", "cancel", "recover", "lease_lost", "replayed")


async def test_overlapping_batches_in_opposite_orders_leave_no_wrong_answer_and_no_job_in_two_places(database: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(1, ROUNDS_MAX + 1):  # whether a lease is lost in one round is a matter of luck
        brawl, _ = await opposite_orders.run(database, seed=seed, seconds=4)
        seen += brawl.seen
        if all(seen[act] for act in ACTS):
            return
    raise AssertionError(f"some of it never happened: {seen}")
