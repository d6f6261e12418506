"""A settle wakes the claimers of its tenant, in whichever process they wait. Every wait here could last half a minute; none may."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from jobqueue.aio.clock import SystemClock
from jobqueue.domain.lease import Lease
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations.jobs import Caller
from jobqueue.operations.wakeups import CHANNEL
from jobqueue.worker.backends.postgres import PostgresBackend, PostgresOptions
from tests.engine import TERMS, Engine, outcome, request, settlement

POLL_S = 30.0
PROMPT_S = 20.0
"""Less than the poll, far more than a slow machine needs."""


class Workers:
    """Backends of one database, each as in a process of its own."""

    def __init__(self, engine: Engine, stack: contextlib.AsyncExitStack) -> None:
        self._engine = engine
        self._stack = stack
        self._opened = 0

    async def open(self) -> PostgresBackend:
        self._opened += 1
        options = PostgresOptions(
            dsn=self._engine.dsn,
            direct_dsn=self._engine.dsn,
            worker_name=f"worker-{self._opened}",
            queues=None,
            job_types=("t",),
            concurrency=10,
            version="test",
            terms=TERMS,
        )
        backend = PostgresBackend(options, clock=SystemClock())
        await backend.open()
        self._stack.push_async_callback(backend.close)
        await self._until_listening()
        return backend

    async def _until_listening(self) -> None:
        async with asyncio.timeout(20):
            while (
                await self._engine.raw.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobqueue-ear' AND query LIKE 'LISTEN%'"
                    " AND datname = current_database()"
                )
                < self._opened
            ):
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def workers(engine: Engine) -> AsyncIterator[Workers]:
    async with contextlib.AsyncExitStack() as stack:
        yield Workers(engine, stack)


async def claim_soon(backend: PostgresBackend, *, jobs_max: int = 10) -> list[Lease]:
    """Claim as a fetcher with free slots does: look, wait for news, look again."""
    begun = time.monotonic()
    while not (found := await backend.claim(jobs_max=jobs_max)):
        assert time.monotonic() - begun < PROMPT_S, "the wake-up did not come"
        await backend.wait(timeout_s=POLL_S)
    assert time.monotonic() - begun < PROMPT_S, "only the poll found it"
    return found


async def waiting(backend: PostgresBackend, *, heard_by: PostgresBackend | None = None) -> asyncio.Task[list[Lease]]:
    """A fetcher that waits for jobs. heard_by: who has heard for whose slots."""
    task = asyncio.create_task(claim_soon(backend))
    async with asyncio.timeout(30):
        while not backend._is_starved or (heard_by is not None and not heard_by._vacancies.hungry):
            assert not task.done()
            await asyncio.sleep(0.01)
    return task


async def settle(backend: PostgresBackend, leases: list[Lease]) -> None:
    made = [settlement(lease, outcome()) for lease in leases]
    for lease, one in zip(leases, made, strict=True):
        one.tenant = lease.tenant
    await backend.settle(made)


async def test_a_settle_wakes_the_claimer_of_another_process(engine: Engine, workers: Workers) -> None:
    acme = await engine.tenant(max_concurrent=1)
    holder, hungry = await workers.open(), await workers.open()
    await engine.submit_all(acme, [request()] * 3)
    (lease,) = await holder.claim(jobs_max=1)
    waits = await waiting(hungry, heard_by=holder)
    await settle(holder, [lease])
    assert len(await waits) == 1


async def test_a_settle_wakes_those_who_wait_for_a_queue_s_slot(engine: Engine, workers: Workers, acme: Caller) -> None:
    await engine.queue(acme, "narrow", max_concurrent=1)
    holder, hungry = await workers.open(), await workers.open()
    await engine.submit_all(acme, [request(queue="narrow")] * 3)
    (lease,) = await holder.claim(jobs_max=1)
    waits = await waiting(hungry, heard_by=holder)
    await settle(holder, [lease])
    assert len(await waits) == 1


async def test_a_settle_lets_a_key_s_next_job_in_and_wakes_those_who_wait_for_it(engine: Engine, workers: Workers, acme: Caller) -> None:
    holder, hungry = await workers.open(), await workers.open()
    await engine.submit_all(acme, [request(concurrency_key="k")] * 3)
    (lease,) = await holder.claim(jobs_max=10)
    waits = await waiting(hungry)
    await settle(holder, [lease])
    assert len(await waits) == 1


async def test_a_claimer_takes_the_slot_its_own_process_freed(engine: Engine, workers: Workers) -> None:
    acme = await engine.tenant(max_concurrent=1)
    alone = await workers.open()
    await engine.submit_all(acme, [request()] * 4)
    (lease,) = await claim_soon(alone)
    for _ in range(3):
        waits = await waiting(alone)
        await settle(alone, [lease])
        (lease,) = await waits


async def test_a_released_job_wakes_another_process(engine: Engine, workers: Workers, acme: Caller) -> None:
    holder, other = await workers.open(), await workers.open()
    await engine.submit(acme)
    (lease,) = await holder.claim(jobs_max=1)
    waits = await waiting(other)
    await holder.settle([settlement(lease, outcome(OutcomeKind.RELEASED))])
    assert (await waits)[0].job_id == lease.job_id


async def test_nothing_is_said_where_no_limit_binds(engine: Engine, workers: Workers, acme: Caller) -> None:
    await engine.tenant("capped", max_concurrent=50)
    first, second = await workers.open(), await workers.open()
    listener = await asyncpg.connect(engine.dsn)
    said: list[str] = []
    await listener.add_listener(CHANNEL, lambda *heard: said.append(heard[3]))
    await engine.submit_all(acme, [request()] * 40)
    while leases := [*await first.claim(jobs_max=7), *await second.claim(jobs_max=7)]:
        await settle(first, leases)
    await engine.raw.execute("SELECT pg_notify($1, 'the end')", CHANNEL)
    async with asyncio.timeout(10):
        while "the end" not in said:
            await asyncio.sleep(0.01)
    assert said == ["the end"]
    await listener.close()
