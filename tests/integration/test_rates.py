"""The rate over several processes, each a RateLimiter of its own on one database. Time passes by moving the rows back."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.domain.rate import HELD_S
from jobqueue.operations.rates import RateLimiter, Taken
from jobqueue.store.pool import Database
from tests.engine import Engine, open_engine
from tests.fake_clock import FakeClock

RATE = 6
"""A minute: so few that what a slow machine's seconds add is less than one."""
BURST = 12


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Limiters:
    """Some processes on one database, and a tenant with a rate."""

    def __init__(self, engine: Engine, tenant_id: int, each: list[RateLimiter], clock: FakeClock) -> None:
        self.engine = engine
        self.tenant_id = tenant_id
        self.each = each
        self.clock = clock

    async def take(self, count: int, *, process: int | None = None) -> list[Taken]:
        """Count requests at once, at one process or at all in turn."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.each[number % len(self.each) if process is None else process].take(self.tenant_id))
                for number in range(count)
            ]
        return [task.result() for task in tasks]

    async def passed(self, count: int, *, process: int | None = None) -> int:
        """Say how many of so many pass."""
        return sum(taken.refused_s is None for taken in await self.take(count, process=process))

    async def pass_time(self, seconds: float) -> None:
        """Let the buckets fill and the processes' clocks go on."""
        await self.engine.raw.execute("UPDATE jobqueue.rate_bucket SET filled_at = filled_at - $1 * interval '1 second'", seconds)
        await self.engine.raw.execute("UPDATE jobqueue.rate_lease SET expires_at = expires_at - $1 * interval '1 second'", seconds)
        await self.clock.advance(seconds)

    async def set_rate(self, per_minute: int | None) -> None:
        await self.engine.raw.execute("UPDATE jobqueue.tenant SET rate_per_minute = $1 WHERE tenant_id = $2", per_minute, self.tenant_id)

    async def held(self) -> int:
        """What the database believes to be at hand."""
        return int(
            await self.engine.raw.fetchval("SELECT coalesce(sum(held), 0) FROM jobqueue.rate_lease WHERE expires_at > clock_timestamp()")
        )


@asynccontextmanager
async def limiters(dsn: str, clock: FakeClock, count: int = 3, *, rate: int | None = RATE) -> AsyncIterator[Limiters]:
    async with asyncio.timeout(30), open_engine(dsn) as engine:
        caller = await engine.tenant()
        each = [RateLimiter(engine.db, default_per_minute=RATE, holder=uuid4(), clock=clock) for _ in range(count)]
        services = [asyncio.create_task(limiter.run()) for limiter in each]
        made = Limiters(engine, caller.tenant_id, each, clock)
        await made.set_rate(rate)
        try:
            yield made
        finally:
            for service in services:
                service.cancel()
            await asyncio.wait(services)


async def test_the_burst_passes_once_over_all_processes_to_the_request(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock) as some:
        assert await some.passed(BURST + 80) == BURST


async def test_requests_one_after_the_other_spend_the_same_burst(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock) as some:
        assert sum([await some.passed(1) for _ in range(BURST + 10)]) == BURST


async def test_a_refused_request_passes_after_the_time_it_was_told_and_not_before(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock) as some:
        refusals = [taken.refused_s for taken in await some.take(BURST + 6) if taken.refused_s is not None]
        assert refusals
        assert 5 < max(refusals) <= 10
        assert await some.passed(9) == 0
        await some.pass_time(max(refusals) - 5)
        assert await some.passed(9) == 0
        await some.pass_time(5)
        assert await some.passed(9) == 1


async def test_the_bucket_fills_at_the_rate_and_no_further_than_the_burst(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock) as some:
        await some.take(BURST + 9)
        await some.pass_time(60)
        assert await some.passed(BURST) == RATE
        await some.pass_time(3600)
        assert await some.passed(BURST * 2) == BURST


async def test_what_is_in_the_bucket_and_at_hand_is_never_more_than_the_burst(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock) as some:
        for _ in range(20):
            await some.passed(2)
            await some.pass_time(4.0)
            tokens = await some.engine.raw.fetchval("SELECT tokens FROM jobqueue.rate_bucket")
            assert tokens + await some.held() <= BURST
        assert await some.passed(3 * BURST) <= BURST


async def test_far_from_the_limit_few_requests_go_to_the_database(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1, rate=60_000) as some:
        draws = 0
        draw = some.each[0]._draw_now

        async def counted(asks: Any) -> Any:
            nonlocal draws
            draws += 1
            return await draw(asks)

        some.each[0]._draw_now = counted  # type: ignore[method-assign]
        for _ in range(200):
            assert await some.passed(5) == 5
            await some.clock.advance(0.01)
        assert draws <= 20  # a thousand requests in two seconds


async def test_what_nobody_spends_goes_back(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1, rate=6_000) as some:
        assert await some.passed(1) + await some.passed(1) + await some.passed(1) == 3
        assert await some.held() > 0
        for _ in range(8):
            await some.clock.advance(1.0)
            await asyncio.sleep(0.02)  # the statement that gives back is real
        assert await some.held() == 0
        assert await some.each[0].requests_left(some.tenant_id) in range(12_000 - 3, 12_001)


async def test_a_process_that_ends_gives_back_what_it_holds(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1, rate=6_000) as some:
        await some.passed(3)
        await some.passed(3)
        assert await some.held() > 0
    async with open_engine(database) as engine:
        assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.rate_lease") == 0
        assert await engine.raw.fetchval("SELECT tokens FROM jobqueue.rate_bucket") >= 12_000 - 7


async def test_what_a_killed_process_held_is_lost_for_a_while_and_never_granted_twice(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 2) as some:
        await some.engine.raw.execute(
            "INSERT INTO jobqueue.rate_lease VALUES ($1, gen_random_uuid(), 5, clock_timestamp() + $2 * interval '1 second')",
            some.tenant_id,
            HELD_S,
        )
        assert await some.passed(BURST) == BURST - 5
        await some.pass_time(3600)
        assert await some.passed(2 * BURST) == BURST


async def test_a_request_that_does_not_count_after_all_makes_room_for_another(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1) as some:
        passed = [taken for taken in await some.take(BURST + 1) if taken.refused_s is None]
        for taken in passed[:3]:
            taken.give_back()
            taken.give_back()
        assert await some.passed(9) == 3


async def test_a_refused_request_makes_no_room(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1) as some:
        for taken in await some.take(BURST + 9):
            if taken.refused_s is not None:
                taken.give_back()
        assert await some.passed(9) == 0


async def test_the_tenant_s_rate_goes_before_its_plan_s_and_that_before_the_settings(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1, rate=None) as some:
        assert (await some.take(1))[0].standing().per_minute == RATE  # type: ignore[union-attr]
        await some.engine.raw.execute("UPDATE jobqueue.plan SET rate_per_minute = 90")
        await some.pass_time(10)
        assert (await some.take(1))[0].standing().per_minute == 90  # type: ignore[union-attr]
        await some.set_rate(30)
        await some.pass_time(10)
        assert (await some.take(1))[0].standing().per_minute == 30  # type: ignore[union-attr]
        assert await some.passed(200) <= 60


async def test_a_rate_of_none_lets_everything_pass_and_is_noticed_when_it_is_set(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1, rate=0) as some:
        assert await some.passed(500) == 500
        assert (await some.take(1))[0].standing() is None
        assert await some.each[0].requests_left(some.tenant_id) is None
        await some.set_rate(RATE)
        await some.pass_time(10)
        assert await some.passed(500) == BURST


async def test_tenants_do_not_spend_each_other_s_requests(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1) as some:
        other = await some.engine.tenant("other")
        await some.take(BURST + 5)
        assert (await some.each[0].take(other.tenant_id)).refused_s is None


async def test_the_standing_says_how_many_pass_and_when(database: str, clock: FakeClock) -> None:
    async with limiters(database, clock, 1) as some:
        await some.take(5)
        standing = (await some.take(1))[0].standing()
        assert standing is not None
        assert (standing.per_minute, standing.left) == (RATE, BURST - 6)
        assert math.isclose(standing.wait_s, 60, abs_tol=5)
        assert await some.each[0].requests_left(some.tenant_id) == BURST - 6


async def test_without_the_database_those_who_wait_are_told(database: str, clock: FakeClock) -> None:
    db = await Database.open(database, size=1, application_name="tests")
    limiter = RateLimiter(db, default_per_minute=RATE, holder=uuid4(), clock=clock)
    service = asyncio.create_task(limiter.run())
    try:
        await db.close()
        with pytest.raises(DatabaseUnavailable):
            await limiter.take(1)
    finally:
        service.cancel()
        await asyncio.wait([service])
