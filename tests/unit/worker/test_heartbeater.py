"""Leases are renewed from a thread of their own; what the database says comes back to the main loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.domain.lease import SELF_FENCE_MARGIN_S, Beat, BeatStatus, Directive
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.telemetry.events import Event
from jobqueue.worker.events import BackendFailed, LoopLagged
from jobqueue.worker.handler import Context
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.heartbeater import Heartbeater
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.run import Book, Run, StopReason
from tests.fake_clock import FakeClock
from tests.fakes.backend import FakeBackend, FakeEngine
from tests.unit.worker.harness import working

LEASE_S = 30.0


class Ward:
    """A heartbeater stepped by hand, in the test's own loop."""

    def __init__(self, engine: FakeEngine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock
        self.book = Book()
        self.lost: list[Run] = []
        self.cancelled: list[Run] = []
        self.directives: list[Directive] = []
        self.events: list[Event] = []
        self.backend = FakeBackend(engine)
        self.backend.is_open = True
        self.heartbeater = Heartbeater(
            open_backend=lambda: FakeBackend(engine),
            book=self.book,
            options=WorkerOptions(cancel_grace_s=10.0),
            clock=clock,
            tell=self.events.append,
            on_lost=self.lost.append,
            on_cancel=self.cancelled.append,
            on_directive=self.directives.append,
        )
        self.heartbeater._main = asyncio.get_running_loop()

    def hold(self, *, is_started: bool = True) -> Run:
        self.engine.submit("any", timeout_s=60)
        (lease,) = self.engine.take(1)
        run = Run(lease, sent_at=self.clock.boottime())
        if is_started:
            run.started_at = self.clock.monotonic()
            run.deadline_at = run.started_at + lease.timeout_s
        self.book.enter([run])
        return run

    async def tick(self) -> None:
        await self.heartbeater.tick(self.backend)
        await asyncio.sleep(0)  # for what is handed over to the main loop

    def beats(self, run: Run) -> list[Beat]:
        return self.engine.job(run.lease.job_id).beats


@pytest.fixture
async def ward(engine: FakeEngine, clock: FakeClock) -> Ward:
    return Ward(engine, clock)


async def test_start_is_reported_once_with_its_age(ward: Ward) -> None:
    run = ward.hold()
    await ward.clock.advance(0.2)
    await ward.tick()
    await ward.tick()
    (beat,) = ward.beats(run)
    assert beat.started_ago_s == pytest.approx(0.2)


async def test_lease_that_waits_is_renewed_at_a_third_of_its_length_without_a_start(ward: Ward) -> None:
    run = ward.hold(is_started=False)
    await ward.clock.advance(LEASE_S / 3 - 0.1)
    await ward.tick()
    assert ward.beats(run) == []
    await ward.clock.advance(0.2)
    await ward.tick()
    await ward.tick()
    (beat,) = ward.beats(run)
    assert beat.started_ago_s is None
    assert run.fence_at == ward.clock.boottime() + LEASE_S - SELF_FENCE_MARGIN_S


async def test_only_new_progress_is_told(ward: Ward) -> None:
    run = ward.hold()
    run.report_progress(10, "a")
    run.report_progress(20, "b")
    await ward.tick()
    await ward.tick()
    run.report_progress(30, "c")
    await ward.tick()
    assert [(beat.progress, beat.message) for beat in ward.beats(run)] == [(20, "b"), (30, "c")]


async def test_trust_counts_from_before_the_beat_was_sent(ward: Ward) -> None:
    run = ward.hold()
    sent_at = ward.clock.boottime()

    async def slow() -> None:
        await ward.clock.advance(5)

    ward.engine.before("heartbeat", slow)
    await ward.tick()
    assert run.fence_at == sent_at + LEASE_S - SELF_FENCE_MARGIN_S


async def test_failed_beat_renews_nothing(ward: Ward) -> None:
    run = ward.hold()
    fence_at = run.fence_at
    ward.engine.fail("heartbeat", DatabaseUnavailable("away"))
    await ward.clock.advance(1)
    with pytest.raises(DatabaseUnavailable):
        await ward.tick()
    assert run.fence_at == fence_at
    assert not run.is_start_reported


async def test_busy_lease_is_neither_renewed_nor_lost_and_beaten_again(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ward.hold()
    fence_at = run.fence_at
    await ward.clock.advance(1)
    with monkeypatch.context() as patch:
        patch.setattr(ward.engine, "beat", lambda _beat: BeatStatus.BUSY)
        await ward.tick()
    assert (run.fence_at, run.is_start_reported, ward.lost) == (fence_at, False, [])
    await ward.tick()
    assert run.is_start_reported


async def test_lost_lease_is_handed_to_the_main_loop(ward: Ward) -> None:
    lost, kept = ward.hold(), ward.hold()
    ward.engine.end_lease(lost.lease.job_id)
    await ward.tick()
    assert ward.lost == [lost]
    assert kept.is_start_reported


async def test_cancel_request_is_handed_over_once(ward: Ward) -> None:
    run = ward.hold()
    ward.engine.ask_to_cancel(run.lease.job_id)
    for _ in range(3):
        run.report_progress(1, "")
        await ward.tick()
    assert ward.cancelled == [run]


async def test_directive_is_handed_over_when_it_changes(ward: Ward) -> None:
    for directive in (Directive.RUN, Directive.QUIET, Directive.QUIET, Directive.RUN, Directive.TERMINATE):
        ward.engine.directive = directive
        await ward.tick()
    assert ward.directives == [Directive.QUIET, Directive.RUN, Directive.TERMINATE]


async def test_hung_handler_is_not_renewed_past_its_deadline_and_grace(ward: Ward) -> None:
    run = ward.hold()
    await ward.clock.advance(60 + 9.9)
    await ward.tick()
    assert len(ward.beats(run)) == 1
    await ward.clock.advance(20)
    await ward.tick()
    assert len(ward.beats(run)) == 1


async def test_ended_run_is_renewed_until_it_is_settled_however_late(ward: Ward) -> None:
    run = ward.hold()
    run.outcome = Outcome(OutcomeKind.SUCCEEDED)
    await ward.clock.advance(100)
    await ward.tick()
    assert len(ward.beats(run)) == 1
    ward.book.drop(run)
    await ward.clock.advance(100)
    await ward.tick()
    assert len(ward.beats(run)) == 1


async def test_lost_run_is_not_beaten(ward: Ward) -> None:
    run = ward.hold()
    run.stop_reason = StopReason.LOST
    await ward.tick()
    assert ward.beats(run) == []


async def test_more_runs_than_fit_a_beat_are_told_in_several(ward: Ward) -> None:
    runs = [ward.hold() for _ in range(501)]
    await ward.tick()
    assert all(run.is_start_reported for run in runs)


async def test_idle_worker_still_says_that_it_lives(ward: Ward) -> None:
    called = 0

    async def count() -> None:
        nonlocal called
        called += 1

    ward.engine.before("heartbeat", count)
    await ward.tick()
    assert called == 1


async def test_handler_that_blocks_the_loop_is_told_of_and_its_neighbours_lease_is_kept(engine: FakeEngine, registry: Registry) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @registry.job("wait")
    async def wait(ctx: Context) -> str:
        begun.set()
        await go_on.wait()
        return "kept"

    @registry.job("block")
    async def block(ctx: Context) -> None:
        time.sleep(2.0)  # noqa: ASYNC251 - the fault itself

    waiting = engine.submit("wait")
    engine.job(waiting).lease_s = 1.5
    async with working(engine, registry) as running:
        await engine.until_status(waiting, "running")
        await engine.until_status(engine.submit("block"), "succeeded")
        go_on.set()
        job = await engine.until_status(waiting, "succeeded")
    assert job.result == "kept"
    assert len(job.beats) >= 3
    assert len(running.told(LoopLagged)) == 1


async def test_heartbeater_that_cannot_connect_tries_again(engine: FakeEngine, registry: Registry) -> None:
    opened = 0

    async def fail_second_and_third() -> None:
        nonlocal opened
        opened += 1
        if opened in (2, 3):
            raise DatabaseUnavailable("away")

    registry.include(BUILTIN)
    engine.before("open", fail_second_and_third)
    job_id = engine.submit("sleep", {"duration": 0.6})
    async with working(engine, registry) as running:
        await engine.until_status(job_id, "running")
    assert [event.call for event in running.told(BackendFailed)] == ["heartbeat", "heartbeat"]
