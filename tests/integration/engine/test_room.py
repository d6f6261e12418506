"""max_queued over several processes, each with a memory of its own, and what those who are refused are told."""

import asyncio

import pytest

from jobqueue.domain.errors import QueueFull
from jobqueue.operations.jobs import Caller
from jobqueue.operations.room import WAITING_COUNT_S_MAX
from jobqueue.operations.submit import Submitter
from tests.engine import Engine, request
from tests.fake_clock import FakeClock

OVER_MAX = 2_000


async def test_processes_that_fill_a_queue_together_hardly_pass_its_limit(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 300 WHERE tenant_id = $1", acme.tenant_id)
    async with engine.submitter() as one, engine.submitter() as two, engine.submitter() as three, asyncio.TaskGroup() as group:

        async def fill(submitter: Submitter) -> None:
            for _ in range(40):
                asked = [submitter.submit(acme.tenant_id, request()) for _ in range(20)]
                if any(isinstance(answer, QueueFull) for answer in await asyncio.gather(*asked, return_exceptions=True)):
                    return

        for submitter in (one, two, three):
            group.create_task(fill(submitter))
    waiting = await engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready")
    assert 300 <= waiting <= 300 + OVER_MAX


async def test_a_full_queue_says_how_long_it_takes_to_make_room(engine: Engine, acme: Caller, clock: FakeClock) -> None:
    await engine.submit_all(acme, [request() for _ in range(25)])
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 10 WHERE tenant_id = $1", acme.tenant_id)
    engine.clock = clock
    async with engine.submitter() as submitter:
        room = submitter.room

        async def refused(jobs: int = 1) -> float:
            try:
                await room.take(acme.tenant_id, jobs)
            except QueueFull as refusal:
                return refusal.retry_after_s
            raise AssertionError("there was room")

        assert await refused() == 1.0  # nothing is known of the pace yet
        for _ in range(5):
            await engine.claim(jobs_max=2)  # two a second stop waiting
            await clock.advance(1.0)
            told = await refused()
        assert 1.0 <= told <= 2.0
        assert 4.0 <= await refused(10) <= 6.0
        await clock.advance(60.0)
        await refused()
        await clock.advance(60.0)
        assert await refused() == 60.0  # nothing moves any more


async def test_at_its_limit_a_tenant_is_counted_again_after_a_quarter_of_a_second(engine: Engine, acme: Caller, clock: FakeClock) -> None:
    await engine.submit_all(acme, [request() for _ in range(3)])
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 3 WHERE tenant_id = $1", acme.tenant_id)
    engine.clock = clock
    async with engine.submitter() as submitter:
        with pytest.raises(QueueFull):
            await submitter.room.take(acme.tenant_id)
        await engine.claim(jobs_max=1)
        await clock.advance(WAITING_COUNT_S_MAX + 0.01)
        await submitter.room.take(acme.tenant_id)
