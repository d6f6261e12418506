"""The worker claims what it can run soon, and no more."""

from __future__ import annotations

import asyncio

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.worker.events import BackendFailed
from jobqueue.worker.fetcher import PACE_SAMPLE_S, Pace
from jobqueue.worker.handler import Context
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.options import CLAIM_JOBS_MAX
from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine
from tests.unit.worker.harness import working


def test_pace_is_that_of_the_last_second() -> None:
    pace = Pace(0.0)
    assert pace.read(1.0, 100) == 100
    assert pace.read(2.0, 1100) == 1000
    assert pace.read(3.0, 1100) == 0


def test_pace_starts_anew_after_a_lull_and_is_never_measured_over_nothing() -> None:
    pace = Pace(0.0)
    pace.read(50.0, 100)
    pace.restart(100.0, 100)
    assert pace.read(100.0, 110) == 10 / PACE_SAMPLE_S
    assert pace.read(100.5, 600) == 1000


async def test_slow_handlers_lease_nothing_ahead(engine: FakeEngine, registry: Registry) -> None:
    open_, running_now = asyncio.Event(), 0
    full = asyncio.Event()

    @registry.job("wait")
    async def wait(ctx: Context) -> None:
        nonlocal running_now
        running_now += 1
        if running_now == 3:
            full.set()
        await open_.wait()

    ids = [engine.submit("wait") for _ in range(10)]
    async with working(engine, registry, concurrency=3):
        await full.wait()
        await asyncio.sleep(0)
        assert sum(engine.job(job_id).status != "queued" for job_id in ids) == 3
        open_.set()
        await engine.until(lambda: all(job.status == "succeeded" for job in engine.jobs()))


async def test_fast_handlers_lease_ahead_in_large_batches(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    for _ in range(5000):
        engine.submit("echo")
    async with working(engine, registry, concurrency=10):
        await engine.until(lambda: all(job.status == "succeeded" for job in engine.jobs()))
    assert max(engine.claim_sizes) > 50
    assert max(engine.claim_sizes) <= CLAIM_JOBS_MAX


async def test_idle_worker_is_woken_by_a_submit_without_waiting_for_its_poll(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    async with working(engine, registry, poll_interval_s=600.0):
        await engine.until(lambda: engine.claim_sizes == [0])
        await engine.until_status(engine.submit("echo"), "succeeded")


async def test_claims_go_on_after_an_outage(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    engine.fail("claim", *[DatabaseUnavailable("away")] * 3)
    engine.fail("wait", DatabaseUnavailable("away"), RuntimeError("a bug"))
    async with working(engine, registry) as running:
        await engine.until_status(engine.submit("echo"), "succeeded")
        await engine.until(lambda: len(running.told(BackendFailed)) == 5)
    assert [event.failures_in_a_row for event in running.told(BackendFailed)][:3] == [1, 2, 3]
