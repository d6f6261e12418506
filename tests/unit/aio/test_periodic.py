"""Periodic services: rhythm, wakes, backoff, and that only cancellation ends them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from jobqueue.aio.periodic import PeriodicService
from tests.fake_clock import FakeClock, settle


class Counting(PeriodicService):
    """Counts its ticks; what a tick does can be replaced."""

    def __init__(self, clock: FakeClock, **changes: object) -> None:
        self.faults: list[tuple[str, Exception]] = []
        self.ticks: list[float] = []
        self.act: Callable[[], float | None] = lambda: None
        self.hold: asyncio.Event | None = None
        options: dict[str, object] = {"name": "counting", "interval_s": 10.0, "jitter": 0.0, **changes}
        super().__init__(clock=clock, on_fault=lambda name, fault: self.faults.append((name, fault)), **options)  # type: ignore[arg-type]
        self.clock = clock

    async def tick(self) -> float | None:
        self.ticks.append(self.clock.monotonic() - 1000.0)
        if self.hold is not None:
            await self.hold.wait()
        return self.act()


@asynccontextmanager
async def running(service: PeriodicService) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.run())
        await settle()
        yield task
        task.cancel()


def fail() -> float | None:
    raise RuntimeError("no database")


async def test_ticks_at_once_and_then_every_interval(clock: FakeClock) -> None:
    service = Counting(clock)
    async with running(service):
        await clock.advance(25)
    assert service.ticks == [0, 10, 20]


async def test_tick_may_ask_for_the_time_of_the_next_one(clock: FakeClock) -> None:
    service = Counting(clock)
    service.act = lambda: 3.0
    async with running(service):
        await clock.advance(7)
    assert service.ticks == [0, 3, 6]


async def test_tick_that_asks_for_no_wait_lets_others_run_between(clock: FakeClock) -> None:
    service = Counting(clock)
    service.act = lambda: 0.0
    async with running(service):
        turns = len(service.ticks)
    assert 2 <= turns <= 40


async def test_jitter_shortens_waits_and_never_lengthens_them(clock: FakeClock) -> None:
    service = Counting(clock, jitter=0.5, draw=lambda: 0.8)
    async with running(service):
        await clock.advance(6)
    assert service.ticks == [0, 6]


async def test_wake_runs_the_next_tick_at_once_and_only_once(clock: FakeClock) -> None:
    service = Counting(clock)
    async with running(service):
        await clock.advance(4)
        service.wake()
        service.wake()
        await settle()
        assert service.ticks == [0, 4]
        await clock.advance(10)
    assert service.ticks == [0, 4, 14]


async def test_wake_during_a_tick_is_not_lost(clock: FakeClock) -> None:
    service = Counting(clock)
    service.hold = asyncio.Event()
    async with running(service):
        service.wake()
        service.hold.set()
        await settle()
    assert service.ticks == [0, 0]


async def test_failed_ticks_back_off_to_a_cap_and_are_told(clock: FakeClock) -> None:
    service = Counting(clock, backoff_s_max=30.0)
    service.act = fail
    async with running(service):
        await clock.advance(120)
    assert service.ticks == [0, 10, 30, 60, 90, 120]
    assert {(name, str(fault)) for name, fault in service.faults} == {("counting", "no database")}
    assert len(service.faults) == len(service.ticks)


async def test_wake_does_not_shorten_the_wait_after_a_fault(clock: FakeClock) -> None:
    service = Counting(clock)
    service.act = fail
    async with running(service):
        service.wake()
        await clock.advance(9)
        assert service.ticks == [0]
        await clock.advance(1)
    assert service.ticks == [0, 10]


async def test_good_tick_ends_the_backoff(clock: FakeClock) -> None:
    service = Counting(clock)
    service.act = fail
    async with running(service):
        await clock.advance(10)
        service.act = lambda: None
        await clock.advance(40)
    assert service.ticks == [0, 10, 30, 40, 50]


async def test_progress_is_the_end_of_the_last_good_tick(clock: FakeClock) -> None:
    service = Counting(clock)
    async with running(service):
        await clock.advance(10)
        assert service.last_progress == 1010
        service.act = fail
        await clock.advance(30)
    assert service.last_progress == 1010


async def test_tick_over_its_deadline_is_cancelled_and_counts_as_failed(clock: FakeClock) -> None:
    service = Counting(clock, tick_s_max=0.001)
    service.hold = asyncio.Event()
    told = asyncio.Event()
    service._on_fault = lambda name, fault: (service.faults.append((name, fault)), told.set())[1]
    async with running(service):
        await told.wait()
    assert isinstance(service.faults[0][1], TimeoutError)


async def test_cancellation_ends_it_in_a_tick_and_in_a_wait(clock: FakeClock) -> None:
    for hold in (asyncio.Event(), None):
        service = Counting(clock)
        service.hold = hold
        async with running(service) as task:
            task.cancel()
            await settle()
            assert task.cancelled()
    assert service.faults == []


async def test_step_runs_without_the_loop_around_it(clock: FakeClock) -> None:
    service = Counting(clock)
    service.act = lambda: 5.0
    assert await service.tick() == 5.0


async def test_interval_of_zero_is_refused(clock: FakeClock) -> None:
    with pytest.raises(AssertionError):
        Counting(clock, interval_s=0.0)
