"""A worker over HTTP keeps the contract that one on Postgres keeps: the client, the wire, the application and the engine together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import orjson
import pytest_asyncio

from jobqueue.aio.clock import SystemClock
from jobqueue.domain.lease import Directive
from jobqueue.operations import jobs
from jobqueue.worker.backends.http import HttpBackend, HttpOptions
from tests.contracts.backend_suite import JOB_TYPE, BackendContract
from tests.engine import END_LEASE, UP_S
from tests.integration.api.conftest import Api, make_key, open_api


class HttpScenario:
    """The real application as a scenario."""

    def __init__(self, api: Api, stack: contextlib.AsyncExitStack) -> None:
        self.api = api
        self.stack = stack
        self.opened = 0

    async def open_backend(self) -> HttpBackend:
        self.opened += 1
        options = HttpOptions(
            url="http://api",
            api_key=self.api.key,
            worker_name=f"worker-{self.opened}",
            queues=None,
            job_types=(JOB_TYPE,),
            concurrency=10,
            version="test",
            transport=httpx2.ASGITransport(app=self.api.app),
        )
        backend = HttpBackend(options, clock=SystemClock())
        await backend.open()
        self.stack.push_async_callback(backend.close)
        return backend

    async def submit(self, data: dict[str, Any], *, job_type: str = JOB_TYPE, max_attempts: int = 3, timeout_s: float = 60.0) -> UUID:
        job_id = await self.api.engine.submit(
            self.api.caller, job_type, data=orjson.dumps(data).decode(), max_attempts=max_attempts, timeout_s=int(timeout_s)
        )
        self.api.polls.heard(list(self.api.engine.woken))
        return job_id

    async def end_lease(self, job_id: UUID) -> None:
        await self.api.engine.raw.execute(END_LEASE, job_id)
        await self.api.engine.recover(after_s=0, up_s=UP_S)

    async def ask_to_cancel(self, job_id: UUID) -> None:
        await jobs.cancel(self.api.engine.db, self.api.caller, job_id, grace_s=30.0)

    async def status(self, job_id: UUID) -> str:
        return str(await self.api.engine.status(self.api.caller, job_id))


@pytest_asyncio.fixture
async def scenario(database: str) -> AsyncIterator[HttpScenario]:
    async with asyncio.timeout(60), open_api(database) as api, contextlib.AsyncExitStack() as stack:
        yield HttpScenario(api, stack)


class TestHttpBackend(BackendContract):
    pass


class Dropped(httpx2.AsyncBaseTransport):
    """Carries requests out and loses their answers, as often as it is told."""

    def __init__(self, below: httpx2.AsyncBaseTransport) -> None:
        self.below = below
        self.drops = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.below.handle_async_request(request)
        if self.drops:
            self.drops -= 1
            raise httpx2.ReadError("the connection was reset")
        return response


async def open_behind_drops(scenario: HttpScenario) -> tuple[HttpBackend, Dropped]:
    transport = Dropped(httpx2.ASGITransport(app=scenario.api.app))
    options = HttpOptions("http://api", scenario.api.key, "dropped", None, (JOB_TYPE,), 10, "test", transport=transport)
    backend = HttpBackend(options, clock=SystemClock())
    await backend.open()
    return backend, transport


async def test_jobs_that_came_with_a_wait_and_were_not_handed_on_go_back_at_close(scenario: HttpScenario) -> None:
    job_id = await scenario.submit({})
    backend = await scenario.open_backend()
    await backend.wait(timeout_s=5)
    assert await scenario.status(job_id) == "leased"
    await backend.close()
    assert await scenario.status(job_id) == "queued"
    assert await scenario.api.engine.raw.fetchval("SELECT attempt FROM jobqueue.ready WHERE job_id = $1", job_id) == 0


async def test_jobs_of_an_answer_that_was_lost_go_back_at_close(scenario: HttpScenario) -> None:
    job_id = await scenario.submit({})
    backend, transport = await open_behind_drops(scenario)
    transport.drops = 1
    with contextlib.suppress(Exception):
        await backend.claim(jobs_max=1)
    assert await scenario.status(job_id) == "leased"
    await backend.close()
    assert await scenario.status(job_id) == "queued"


async def test_a_lease_is_trusted_from_before_it_was_granted_though_the_poll_waited(scenario: HttpScenario) -> None:
    backend = await scenario.open_backend()
    clock = SystemClock()
    waiting = asyncio.create_task(backend.wait(timeout_s=10))
    while not scenario.api.polls.waiting:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # so that the wait is longer than what is measured
    submitted_at = clock.boottime()
    await scenario.submit({})
    await waiting
    (lease,) = await backend.claim(jobs_max=1)
    assert lease.granted_at is not None
    assert submitted_at - 1.0 < lease.granted_at < clock.boottime()


async def test_a_worker_is_told_by_its_heartbeat_what_an_operator_wants(scenario: HttpScenario) -> None:
    backend = await scenario.open_backend()
    await backend.heartbeat([])
    assert backend.directive is Directive.RUN
    async with scenario.api.as_other(await make_key(scenario.api.engine, scenario.api.caller, ["operator"])) as operator:
        await operator.post("/v1/workers/worker-1/quiet")
    backend._beaten_at = float("-inf")
    await backend.heartbeat([])
    assert backend.directive is Directive.QUIET


async def test_a_worker_that_was_forgotten_introduces_itself_again(scenario: HttpScenario) -> None:
    backend = await scenario.open_backend()
    await scenario.api.engine.raw.execute("DELETE FROM jobqueue.worker")
    await backend.heartbeat([])
    assert await scenario.api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.worker WHERE state = 'running'") == 1
