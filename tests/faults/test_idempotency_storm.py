"""The storm of idempotency_storm.py, one round of it."""

from pathlib import Path

import pytest

from tests.faults import idempotency_storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_one_job_a_key_while_both_api_processes_are_killed_at_random(database: str, tmp_path: Path) -> None:
    storm = await idempotency_storm.run(database, tmp_path, rounds=1, think_s=0.1, seed=1)
    assert storm.kills >= 3, "too calm"
    assert sum(storm.statuses.values()) == idempotency_storm.CLIENTS * idempotency_storm.KEYS * 2
