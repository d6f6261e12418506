"""Postgres keeps the worker's contract."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest_asyncio

from jobqueue.aio.clock import SystemClock
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.domain.rotation import Lane
from jobqueue.domain.wakeup import encode
from jobqueue.operations import jobs
from jobqueue.operations.wakeups import CHANNEL
from jobqueue.worker.backends.postgres import PostgresBackend, PostgresOptions
from tests.contracts.backend_suite import JOB_TYPE, BackendContract
from tests.engine import END_LEASE, TERMS, UP_S, Engine, open_engine, outcome, settlement


class PostgresScenario:
    """The real engine as a scenario."""

    def __init__(self, engine: Engine, caller: jobs.Caller, stack: contextlib.AsyncExitStack) -> None:
        self.engine = engine
        self.caller = caller
        self.stack = stack
        self.opened = 0

    async def open_backend(self) -> PostgresBackend:
        self.opened += 1
        options = PostgresOptions(
            dsn=self.engine.dsn,
            direct_dsn=self.engine.dsn,
            worker_name=f"worker-{self.opened}",
            queues=None,
            job_types=(JOB_TYPE,),
            concurrency=10,
            version="test",
            terms=TERMS,
        )
        backend = PostgresBackend(options, clock=SystemClock())
        await backend.open()
        self.stack.push_async_callback(backend.close)
        return backend

    async def submit(self, data: dict[str, Any], *, job_type: str = JOB_TYPE, max_attempts: int = 3, timeout_s: float = 60.0) -> UUID:
        job_id = await self.engine.submit(
            self.caller, job_type, data=orjson.dumps(data).decode(), max_attempts=max_attempts, timeout_s=int(timeout_s)
        )
        await self._wake(job_id)
        return job_id

    async def _wake(self, job_id: UUID) -> None:
        """Wake the backends as the API does after a submit."""
        lanes: list[Lane] = self.engine.woken
        if lanes:
            await self.engine.raw.execute("SELECT pg_notify('jobqueue_wake', $1)", encode(lanes))
            lanes.clear()

    async def end_lease(self, job_id: UUID) -> None:
        await self.engine.raw.execute(END_LEASE, job_id)
        await self.engine.recover(after_s=0, up_s=UP_S)

    async def ask_to_cancel(self, job_id: UUID) -> None:
        await jobs.cancel(self.engine.db, self.caller, job_id, grace_s=30.0)

    async def status(self, job_id: UUID) -> str:
        return str((await jobs.get(self.engine.db, self.caller, job_id, tenant_cap=0)).status)


@pytest_asyncio.fixture
async def scenario(database: str) -> AsyncIterator[PostgresScenario]:
    async with open_engine(database) as engine, contextlib.AsyncExitStack() as stack:
        yield PostgresScenario(engine, await engine.tenant(), stack)


class TestPostgresBackend(BackendContract):
    pass


async def test_what_is_given_back_last_is_told_before_the_connections_go(scenario: PostgresScenario) -> None:
    raw = await scenario.engine.connect()
    try:
        await scenario.submit({})
        backend = await scenario.open_backend()
        (lease,) = await backend.claim(jobs_max=1)
        told: list[str] = []
        await raw.add_listener(CHANNEL, lambda *args: told.append(args[-1]))
        await backend.settle([settlement(lease, outcome(OutcomeKind.RELEASED, ran_s=None))])
        await backend.close()
        await raw.execute("SELECT 1")  # what was notified before has come with the answer
        assert told, "nobody was told of the job"
    finally:
        raw.terminate()
