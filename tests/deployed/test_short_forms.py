"""The short forms of the programs here; the long ones are `make test-failover`, `make test-restore`."""

import pytest

from tests.deployed import restore

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(240)]


async def test_after_a_restore_runs_again_and_is_forgotten_what_the_guide_says() -> None:
    told = await restore.run(100)
    assert (told.ran_again, told.forgotten) == (15, 10)
