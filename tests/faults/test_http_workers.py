"""The short form of tests/faults/http_workers.py: three cycles, and a block of 1.4 leases.

`make test-workers` runs 200 cycles, blocks for 3 leases, one thing after another, and looks closely at how soon processes end, which a busy
machine does not allow: here they have 40 s, which is less than their jobs take.
"""

from pathlib import Path

import pytest

from tests.faults.http_workers import Amounts, run_all


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_workers_that_are_stopped_signalled_and_blocked_keep_what_is_theirs_and_nothing_else(database: str, tmp_path: Path) -> None:
    figures = await run_all(database, tmp_path, Amounts(cycles=3, block_leases=1.4, exit_margin_s=40, are_side_by_side=True))
    assert (figures["cycles"], figures["accepted"]) == (3, 0)
