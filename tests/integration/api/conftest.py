"""The API on a real database, in this process."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest_asyncio
from fastapi import FastAPI

from jobqueue.api.app import create_app
from jobqueue.api.live.hub import Hub
from jobqueue.api.live.joining import Joiner
from jobqueue.api.services import ApiLimits, ApiServices
from jobqueue.api.tokens import TokenSigner
from jobqueue.apps.metrics_page import MetricsPage
from jobqueue.domain.access import Principal
from jobqueue.operations import server, tenants
from jobqueue.operations.api_keys import KeyRing
from jobqueue.operations.feed import FeedTailer
from jobqueue.operations.jobs import Caller
from jobqueue.operations.passwords import Passwords
from jobqueue.operations.polls import PollHub
from jobqueue.operations.rates import RateLimiter
from jobqueue.operations.readiness import ReadinessProbe
from jobqueue.operations.users import UserRing
from jobqueue.operations.vacancies import Vacancies
from jobqueue.operations.waiting import EndWaiter
from jobqueue.operations.wakeups import Waker
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.protocol.jobs import Job
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.metrics import Metrics
from tests.engine import TERMS, Engine, open_engine

KEY_BYTES = 38
SECRET = "a secret of at least thirty-two bytes"


async def make_key(engine: Engine, caller: Caller, scopes: Sequence[str] | None = None) -> str:
    """Make an API key of a tenant."""
    _, key = await tenants.create_api_key(
        engine.db, caller.tenant_id, name="test", scopes=scopes, random_bytes=secrets.token_bytes(KEY_BYTES)
    )
    return key


@dataclass
class Api:
    """The application, the engine below it, and a tenant with a key."""

    app: FastAPI
    engine: Engine
    caller: Caller
    key: str
    client: httpx2.AsyncClient
    polls: PollHub
    telemetry: Telemetry
    hub: Hub
    count: int = 0

    async def submit(self, job_type: str = "t", *, key: str | None = None, **fields: Any) -> httpx2.Response:
        """Post a job; key None: one of its own."""
        self.count += 1
        body = {"payload": {"job_type": job_type, "data": fields.pop("data", {})}, **fields}
        return await self.client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key or f"key-{self.count}"})

    async def job(self, job_id: object) -> Job:
        """Read a job."""
        answer = await self.client.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return read_job(answer)

    def as_other(self, credential: str) -> httpx2.AsyncClient:
        """A client with another credential."""
        headers = {"Authorization": f"Bearer {credential}"}
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url="http://api", headers=headers)


def read_job(answer: httpx2.Response) -> Job:
    """Read a job out of an answer, and see that it has the fields of the contract, all of them and no other."""
    assert set(answer.json()) == set(Job.model_fields)
    return Job.model_validate_json(answer.content)


@asynccontextmanager
async def running_waiter(engine: Engine) -> AsyncIterator[EndWaiter]:
    """The service that tells when jobs have ended."""
    end_waiter = EndWaiter(engine.db, clock=engine.clock)
    service = asyncio.create_task(end_waiter.run())
    try:
        yield end_waiter
    finally:
        service.cancel()
        await asyncio.wait([service])


@asynccontextmanager
async def running_rates(engine: Engine, per_minute: int) -> AsyncIterator[RateLimiter]:
    """The service that counts requests. per_minute 0: tenants without a rate of their own have no limit."""
    rates = RateLimiter(engine.db, default_per_minute=per_minute, holder=uuid4(), clock=engine.clock)
    service = asyncio.create_task(rates.run())
    try:
        yield rates
    finally:
        service.cancel()
        await asyncio.wait([service])


@asynccontextmanager
async def running_polls(engine: Engine) -> AsyncIterator[PollHub]:
    """The service that claims for workers over HTTP."""
    vacancies = Vacancies(Waker(engine.db, clock=engine.clock), sender=1, clock=engine.clock)
    polls = PollHub(engine.db, engine.names, TERMS, clock=engine.clock, wake=engine.woken.append, vacancies=vacancies)
    service = asyncio.create_task(polls.run())
    await asyncio.sleep(0)  # it takes polls from here on
    try:
        yield polls
    finally:
        service.cancel()
        await asyncio.wait([service])


@asynccontextmanager
async def running_feed(engine: Engine, keys: KeyRing, users: UserRing) -> AsyncIterator[tuple[Joiner, Hub]]:
    """The services behind live streams."""
    telemetry = Telemetry()
    rings: dict[str, Any] = {"key": keys, "user": users}
    hub = Hub(
        still_lives=lambda holder: rings[holder.kind].still_lives(holder.id), now_s=time.time, clock=engine.clock, telemetry=telemetry
    )
    tailer = FeedTailer(engine.db, watched=hub.watched, deliver=hub.deliver, restarted=hub.restart, clock=engine.clock, telemetry=telemetry)
    services = [asyncio.create_task(tailer.run()), asyncio.create_task(hub.run())]
    try:
        yield Joiner(engine.db, hub, tailer, tenant_cap=0), hub
    finally:
        for service in services:
            service.cancel()
        await asyncio.wait(services)


@asynccontextmanager
async def open_api(dsn: str, **limits: Any) -> AsyncIterator[Api]:
    """Run the application's parts on a migrated database. limits: of ApiLimits, max_queued, and rate_per_minute, 0 none unless given."""
    defaults = {"max_queued": limits.pop("max_queued", 1_000_000)}
    per_minute = limits.pop("rate_per_minute", 0)
    webhook_guard = limits.pop("webhook_guard", Guard())
    async with (
        open_engine(dsn) as engine,
        engine.submitter(**defaults) as submitter,
        running_waiter(engine) as end_waiter,
        running_rates(engine, per_minute) as rates,
        running_polls(engine) as polls,
        running_feed(engine, keys := KeyRing(engine.db, clock=engine.clock), users := UserRing(engine.db, clock=engine.clock)) as (
            joiner,
            hub,
        ),
    ):
        assert await server.raise_wall(engine.db)  # as every role does at its start
        telemetry, metrics = Telemetry(), Metrics()
        metrics.subscribe_to(telemetry)

        page = MetricsPage(engine.db, metrics, peers=(), clock=engine.clock)

        async def render(reader: Principal | None) -> bytes:
            return await page.everything() if reader is None else await page.of_tenant(reader.tenant, reader.tenant_id)

        services = ApiServices(
            db=engine.db,
            names=engine.names,
            submitter=submitter,
            end_waiter=end_waiter,
            rates=rates,
            users=users,
            passwords=Passwords(),
            polls=polls,
            terms=TERMS,
            joiner=joiner,
            keys=keys,
            tokens=TokenSigner([SECRET], now_s=time.time),
            webhook_secrets=SecretBox([SECRET]),
            webhook_guard=webhook_guard,
            limits=ApiLimits(**{"tenant_cap": 0, "cancel_grace_s": 30.0, "is_metrics_open": False, "worker_concurrency": 100, **limits}),
            clock=engine.clock,
            telemetry=telemetry,
            wake=engine.woken.append,
            render_metrics=render,
            readiness=ReadinessProbe(engine.db, needed=server.SCHEMA_NEEDED, is_draining=lambda: False, clock=engine.clock).ask,
        )
        caller = await engine.tenant()
        key = await make_key(engine, caller)
        app = create_app(services)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api", headers=headers) as client:
            yield Api(app, engine, caller, key, client, polls, telemetry, hub)


@pytest_asyncio.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """The API, with a fresh database below it."""
    async with asyncio.timeout(60), open_api(database) as api:
        yield api
