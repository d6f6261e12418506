"""The short forms of the programs here; the long ones are `make test-failover`, `make test-restore`, `make test-upgrade`."""

import pytest

from tests.deployed import failover, restore, upgrade

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(240)]


async def test_after_a_restore_runs_again_and_is_forgotten_what_the_guide_says() -> None:
    told = await restore.run(100)
    assert (told.ran_again, told.forgotten) == (15, 10)


async def test_a_killed_primary_loses_nothing_acknowledged_and_everybody_comes_back() -> None:
    (cycle,) = await failover.run(1, seed=7, is_short=True)
    assert cycle.is_good, cycle
    assert cycle.acks >= failover.ACKS_BEFORE


async def test_a_roll_to_the_next_version_shows_no_client_an_error_and_loses_nothing() -> None:
    rolled = await upgrade.run(from_commit=None, seconds=1, is_short=True)
    assert (rolled.failed, rolled.broken_lines, rolled.lost) == ({}, 0, 0), rolled
    assert rolled.new_schema > rolled.old_schema
    assert rolled.acks >= upgrade.ACKS_BESIDE
