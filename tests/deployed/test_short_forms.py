"""The short forms of the programs here; the long ones are `make test-failover`, `make test-restore`, `make test-upgrade`."""

import pytest

from tests.deployed import failover, restore

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(240)]


async def test_a_killed_primary_loses_nothing_acknowledged_and_everybody_comes_back() -> None:
    (cycle,) = await failover.run(1, seed=7, is_short=True)
    assert cycle.is_good, cycle
    assert cycle.acks >= failover.ACKS_BEFORE


async def test_after_a_restore_runs_again_and_is_forgotten_what_the_guide_says() -> None:
    told = await restore.run(100)
    assert (told.ran_again, told.forgotten) == (15, 10)
