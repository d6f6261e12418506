"""Outcomes go home in batches, each of them, whatever the database does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from jobqueue.domain.errors import DatabaseUnavailable, InvalidRequest
from jobqueue.domain.lease import Settled, Settlement
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.telemetry.events import Event, StaleWritesRefused
from jobqueue.worker.acker import AGE_S, GIVE_UP_LEASES, Acker
from jobqueue.worker.events import BackendFailed, SettleGivenUp
from jobqueue.worker.options import SETTLE_JOBS_MAX
from jobqueue.worker.run import Book, Run
from tests.fake_clock import FakeClock, settle
from tests.fakes.backend import FakeBackend, FakeEngine


class PickyBackend(FakeBackend):
    """Refuses a whole batch for one value in it, as the database does."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if any(settlement.outcome.result_json == '"poison"' for settlement in settlements):
            raise InvalidRequest("cannot be stored")
        return await super().settle(settlements)


class Desk:
    """An acker at work, with the runs it is given."""

    def __init__(self, engine: FakeEngine, clock: FakeClock, backend: FakeBackend) -> None:
        self.engine = engine
        self.book = Book()
        self.events: list[Event] = []
        self.settled = 0
        self._backend = backend
        self._clock = clock
        self.acker = Acker(backend=backend, book=self.book, clock=clock, tell=self.events.append, on_settled=self._count, draw=lambda: 0.5)

    def _count(self) -> None:
        self.settled += 1

    def end(self, count: int = 1, result_json: str | None = None) -> list[UUID]:
        """Have jobs claimed and ended, and hand them in."""
        ids = [self.engine.submit("any") for _ in range(count)]
        runs: list[Run] = []
        for at in range(0, count, 500):
            runs += [Run(lease, sent_at=self._clock.boottime()) for lease in self.engine.take(min(500, count - at))]
        self.book.enter(runs)
        for run in runs:
            run.outcome = Outcome(OutcomeKind.SUCCEEDED, result_json, ran_s=0.1)
            self.acker.add(run)
        return ids

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def acking(clock: FakeClock, backend_type: type[FakeBackend] = FakeBackend) -> AsyncIterator[Desk]:
    engine = FakeEngine()
    backend = backend_type(engine)
    await backend.open()
    desk = Desk(engine, clock, backend)
    task = asyncio.create_task(desk.acker.run())
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.wait([task])


class Gate:
    """Holds settles up, each until it is let through."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []
        self.second = asyncio.Event()

    async def __call__(self) -> None:
        event = asyncio.Event()
        self.waiting.append(event)
        if len(self.waiting) == 2:
            self.second.set()
        await event.wait()


async def test_outcome_leaves_at_once_while_nothing_is_under_way(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        desk.end()
        await settle()
        assert desk.engine.settle_sizes == [1]
        assert len(desk.book) == 0


async def test_outcomes_gather_while_a_batch_is_under_way_until_the_oldest_is_due(clock: FakeClock) -> None:
    gate = Gate()
    async with acking(clock) as desk:
        desk.engine.before("settle", gate)
        desk.end()
        await settle()
        desk.end(3)
        await settle()
        assert len(gate.waiting) == 1
        await clock.advance(AGE_S)
        async with asyncio.timeout(10):
            await gate.second.wait()
        desk.end(SETTLE_JOBS_MAX + 100)
        await settle()
        assert len(gate.waiting) == 2  # never a third
        for event in gate.waiting:
            event.set()
        desk.engine.before("settle", None)
        assert await desk.acker.drain(grace_s=0, within_s=5, away_s=5)
        assert desk.engine.settle_sizes == [1, 3, SETTLE_JOBS_MAX, 100]


async def test_full_batch_leaves_beside_the_one_under_way_without_waiting(clock: FakeClock) -> None:
    gate = Gate()
    async with acking(clock) as desk:
        desk.engine.before("settle", gate)
        desk.end()
        await settle()
        desk.end(SETTLE_JOBS_MAX - 1)
        await settle()
        assert len(gate.waiting) == 1
        desk.end()
        await settle()
        assert len(gate.waiting) == 2


async def test_batch_without_an_answer_is_sent_again_and_replayed(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        desk.engine.fail("settled", DatabaseUnavailable("the answer was lost"))
        ids = desk.end(3)
        await settle()
        assert [event.failures_in_a_row for event in desk.told(BackendFailed)] == [1]  # type: ignore[attr-defined]
        assert len(desk.book) == 3  # still renewed
        await clock.advance(2)
        assert desk.engine.settle_sizes == [3, 3]
        assert [desk.engine.job(job_id).history for job_id in ids] == [["leased", "succeeded"]] * 3
        assert len(desk.book) == 0


async def test_settle_sent_again_counts_the_time_since_the_start_and_not_since_the_end(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        desk.engine.fail("settle", DatabaseUnavailable("away"))
        (job_id,) = desk.end()
        await settle()
        before = clock.monotonic()
        await clock.advance(2)
        outcome = desk.engine.job(job_id).outcome
        assert outcome is not None
        assert outcome.ran_s is not None
        assert 0.1 < outcome.ran_s <= 0.1 + clock.monotonic() - before


async def test_mistake_of_the_backend_is_survived_like_an_outage(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        desk.engine.fail("settle", RuntimeError("a bug"))
        (job_id,) = desk.end()
        await settle()
        await clock.advance(2)
        assert desk.engine.job(job_id).status == "succeeded"


async def test_batch_is_given_up_only_long_after_its_leases_ended(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        desk.engine.fail("settle", *[DatabaseUnavailable("away")] * 10_000)
        desk.end(2)
        await settle()
        for _ in range(GIVE_UP_LEASES * 30 // 5 - 1):
            await clock.advance(5)
        assert desk.told(SettleGivenUp) == []
        await clock.advance(10)
        assert desk.told(SettleGivenUp) == [SettleGivenUp(2)]
        assert len(desk.book) == 0


async def test_row_that_cannot_be_stored_fails_alone(clock: FakeClock) -> None:
    async with acking(clock, PickyBackend) as desk:
        good = desk.end(4, '"good"')
        (bad,) = desk.end(1, '"poison"')
        good += desk.end(4, '"good"')
        await settle()
        assert await desk.acker.drain(grace_s=0, within_s=5, away_s=5)
        assert {desk.engine.job(job_id).status for job_id in good} == {"succeeded"}
        failure = desk.engine.job(bad).outcome.failure
        assert failure is not None
        assert (desk.engine.job(bad).status, failure.type) == ("dlq", "ResultRejected")


async def test_stale_token_is_counted_and_forgotten(clock: FakeClock) -> None:
    gate = Gate()
    async with acking(clock) as desk:
        desk.engine.before("settle", gate)
        ids = desk.end(2)
        await settle()
        desk.engine.end_lease(ids[0])
        gate.waiting[0].set()
        await settle()
        assert desk.told(StaleWritesRefused) == [StaleWritesRefused(1)]
        assert desk.engine.job(ids[1]).status == "succeeded"
        assert len(desk.book) == 0


async def test_drain_says_when_it_was_not_enough(clock: FakeClock) -> None:
    async with acking(clock) as desk:
        assert await desk.acker.drain(grace_s=0, within_s=1, away_s=1)
        desk.engine.before("settle", Gate())
        desk.end()
        assert not await desk.acker.drain(grace_s=0, within_s=0.01, away_s=1)


class AwayBackend(FakeBackend):
    """Fails every settle until told otherwise."""

    is_away = True

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if AwayBackend.is_away:
            raise DatabaseUnavailable("away")
        return await super().settle(settlements)


@pytest.fixture
def away() -> Iterator[type[AwayBackend]]:
    yield AwayBackend
    AwayBackend.is_away = True


async def test_drain_gives_up_early_while_nothing_comes_through(clock: FakeClock, away: type[AwayBackend]) -> None:
    async with acking(clock, away) as desk:
        (job_id,) = desk.end()
        async with asyncio.timeout(5):
            assert not await desk.acker.drain(grace_s=0, within_s=60, away_s=0.01)
        assert desk.engine.job(job_id).status == "leased"


async def test_drain_tries_for_all_of_its_grace(clock: FakeClock, away: type[AwayBackend]) -> None:
    async with acking(clock, away) as desk:
        (job_id,) = desk.end()
        await settle()
        draining = asyncio.create_task(desk.acker.drain(grace_s=60, within_s=0, away_s=0))
        for _ in range(5):
            await clock.advance(2)
        assert not draining.done()
        away.is_away = False
        await clock.advance(2)
        assert await draining
        assert desk.engine.job(job_id).status == "succeeded"


@pytest.mark.parametrize("is_before", [True, False])
async def test_hurry_cuts_the_grace_of_a_drain(clock: FakeClock, away: type[AwayBackend], is_before: bool) -> None:
    async with acking(clock, away) as desk:
        desk.end()
        await settle()
        if is_before:
            desk.acker.hurry()
        draining = asyncio.create_task(desk.acker.drain(grace_s=60, within_s=60, away_s=0.01))
        await settle()
        if not is_before:
            desk.acker.hurry()
        async with asyncio.timeout(5):
            assert not await draining
