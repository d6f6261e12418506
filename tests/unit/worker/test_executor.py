"""What becomes of jobs that are leased and still wait for a slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.telemetry.events import Event
from jobqueue.worker.events import LeaseLost
from jobqueue.worker.executor import Executor
from jobqueue.worker.handler import Context
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import HandlerSpec, Registry
from jobqueue.worker.run import Book, Run
from tests.fake_clock import FakeClock, settle
from tests.fakes.backend import FakeEngine


class NoIsolation:
    async def run(self, run: Run, spec: HandlerSpec) -> Outcome:
        raise AssertionError("nothing here is isolated")


class Bench:
    """An executor with one slot, which a job of its own holds until it is let go."""

    def __init__(self, engine: FakeEngine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock
        self.let_go = asyncio.Event()
        self.ran: list[int] = []
        self.settled: list[Run] = []
        self.events: list[Event] = []
        self.book = Book()
        registry = Registry()
        registry.job("hold")(self.hold)
        registry.job("note")(self.note)
        self.executor = Executor(
            registry=registry,
            options=WorkerOptions(concurrency=1),
            clock=clock,
            book=self.book,
            isolated=NoIsolation(),
            settle=self.settled.append,
            tell=self.events.append,
            ring=lambda: None,
        )

    async def hold(self, ctx: Context) -> None:
        await self.let_go.wait()

    async def note(self, ctx: Context, n: int) -> None:
        self.ran.append(n)

    def lease(self, job_type: str, **data: int) -> Run:
        self.engine.submit(job_type, data)
        (lease,) = self.engine.take(1)
        return Run(lease, sent_at=self.clock.boottime())


@pytest.fixture
async def bench(engine: FakeEngine, clock: FakeClock) -> AsyncIterator[Bench]:
    bench = Bench(engine, clock)
    bench.executor.accept([bench.lease("hold")])
    await settle()
    yield bench
    bench.let_go.set()
    await settle()


async def test_waiting_jobs_start_in_order_as_the_slot_becomes_free(bench: Bench) -> None:
    bench.executor.accept([bench.lease("note", n=1), bench.lease("note", n=2)])
    assert (bench.executor.slots_free, bench.executor.waiting, bench.ran) == (0, 2, [])
    bench.let_go.set()
    await settle()
    assert bench.ran == [1, 2]
    assert len(bench.settled) == 3


async def test_waiting_job_that_is_cancelled_never_starts_and_ends_cancelled(bench: Bench) -> None:
    run = bench.lease("note", n=1)
    bench.executor.accept([run])
    bench.executor.cancel(run)
    bench.let_go.set()
    await settle()
    assert bench.ran == []
    assert run.outcome is not None
    assert (run.outcome.kind, run.outcome.ran_s) == (OutcomeKind.CANCELLED, None)


async def test_waiting_job_whose_lease_is_lost_never_starts_and_reports_nothing(bench: Bench) -> None:
    run = bench.lease("note", n=1)
    bench.executor.accept([run])
    bench.executor.lose(run)
    bench.let_go.set()
    await settle()
    assert (bench.ran, run in bench.settled, run in bench.book) == ([], False, False)


@pytest.mark.parametrize(("waited_s", "ran"), [(29.4, [1]), (29.6, [])])
async def test_waiting_job_starts_only_while_its_lease_can_be_trusted(bench: Bench, waited_s: float, ran: list[int]) -> None:
    bench.executor.accept([bench.lease("note", n=1)])
    await bench.clock.advance(waited_s)
    bench.let_go.set()
    await settle()
    assert bench.ran == ran
    assert len([event for event in bench.events if isinstance(event, LeaseLost)]) == 1 - len(ran)


async def test_close_gives_waiting_jobs_back_but_cancelled_ones_as_cancelled(bench: Bench) -> None:
    waiting, stopped = bench.lease("note", n=1), bench.lease("note", n=2)
    bench.executor.accept([waiting, stopped])
    bench.executor.cancel(stopped)
    bench.executor.close()
    late = bench.lease("note", n=3)
    bench.executor.accept([late])
    assert [run.outcome.kind for run in (waiting, stopped, late) if run.outcome] == ["released", "cancelled", "released"]
    bench.let_go.set()
    await settle()
    assert bench.ran == []


async def test_type_without_a_handler_fails_and_frees_its_slot(bench: Bench) -> None:
    stranger = bench.lease("stranger")
    bench.executor.accept([stranger, bench.lease("note", n=1)])
    bench.let_go.set()
    await settle()
    assert stranger.outcome is not None
    assert stranger.outcome.failure is not None
    assert "'stranger'" in stranger.outcome.failure.message
    assert bench.ran == [1]
