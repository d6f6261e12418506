"""The short form of opposite_orders.py."""

from __future__ import annotations

import pytest

from tests.faults import opposite_orders

pytestmark = pytest.mark.slow


async def test_overlapping_batches_in_opposite_orders_leave_no_wrong_answer_and_no_job_in_two_places(database: str) -> None:
    brawl, _ = await opposite_orders.run(database, seed=1, seconds=4)
    assert all(brawl.seen[act] for act in ("submit", "claim", "beat", "settle", "cancel", "recover", "lease_lost", "replayed")), brawl.seen
