"""A queue for the length of a test: an embedded Postgres of its own, a fresh database for each test, the API in this process, and a
worker that runs until nothing is due. Composition only; `jobqueue.testing` is the door to it.

Everything is the real thing but for time: there is no reaper, and what waits for its time becomes due when run_all is told so.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.apps import api
from jobqueue.apps.database import submit_defaults
from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.apps.http_server import bind
from jobqueue.apps.migrate import migrate
from jobqueue.apps.worker import backend_opener, database_options
from jobqueue.apps.worker_setup import load_registry
from jobqueue.config import Settings, load
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement
from jobqueue.domain.outcome import Failure, Outcome
from jobqueue.operations import tenants, upkeep
from jobqueue.operations.database import Database, open_database
from jobqueue.operations.inbox import Inbox
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.metrics import Metrics
from jobqueue.worker.backend import Backend
from jobqueue.worker.registry import Registry
from jobqueue.worker.runtime import Worker

HOST: Final = "127.0.0.1"
TENANT: Final = "test"
TEMPLATE: Final = "template"
REQUESTS_PER_MINUTE: Final = 1_000_000
FAR: Final = timedelta(days=3_650)
"""Beyond every delay: what waits for its time is due by then."""

PASSES_MAX: Final = 1_000
SPEED: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""The data of a test need not survive a power cut."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a job. status: what the job became by it; error: of a run that failed; seconds: how long the handler took."""

    job_id: UUID
    job_type: str
    attempt: int
    status: str
    result: Any = None
    error: Failure | None = None
    seconds: float | None = None


class StillRunning(Exception):
    """There was still something to run when the time or the number of runs was used up."""


@asynccontextmanager
async def trial_server() -> AsyncIterator[EmbeddedServer]:
    """Run a Postgres with a migrated template database, in a directory that goes with it."""
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-testing-"))
    server = EmbeddedServer(directory, options=SPEED)
    try:
        await server.start()
        await server.ensure_database(TEMPLATE)
        await migrate(server.dsn(TEMPLATE))
        yield server
    finally:
        await server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def trial(server: EmbeddedServer, environment: dict[str, str]) -> AsyncIterator[Trial]:
    """Make a fresh database with a tenant and serve the API on it while the block runs. environment: settings under their names."""
    name = f"trial_{secrets.token_hex(6)}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    try:
        dsn = server.dsn(name)
        settings = load({**_defaults(dsn), **environment})
        db = await open_database(dsn, size=2, application_name="jobqueue-trial")
        try:
            api_key = await _make_tenant(db)
            async with _serving(settings) as url:
                yield Trial(settings, db, url=url, api_key=api_key)
        finally:
            await db.close()
    finally:
        await _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _defaults(dsn: str) -> dict[str, str]:
    return {
        "JOBQUEUE_DATABASE_URL": dsn,
        "JOBQUEUE_API_SECRET_KEY": secrets.token_hex(),
        "JOBQUEUE_ACCEPT_UNSAFE_DATABASE": "true",
        "JOBQUEUE_TENANT_MAX_CONCURRENT": "0",
        "JOBQUEUE_METRICS_PORT": "0",
        "JOBQUEUE_SHUTDOWN_GRACE_SECONDS": "1",
        "JOBQUEUE_POLL_INTERVAL": "0.05",
    }


async def _execute(server: EmbeddedServer, statement: str) -> None:
    import asyncpg  # apps open connections

    connection = await asyncpg.connect(server.dsn(), timeout=60)
    try:
        await connection.execute(statement, timeout=60)
    finally:
        await connection.close(timeout=60)


async def _make_tenant(db: Database) -> str:
    tenant_id = await tenants.create(db, TENANT, max_concurrent=0, rate_per_minute=REQUESTS_PER_MINUTE)
    chance = secrets.token_bytes(ID_BYTES + SECRET_BYTES)
    _, api_key = await tenants.create_api_key(db, tenant_id, name="test", scopes=None, random_bytes=chance)
    return api_key


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[str]:
    stop = asyncio.Event()
    with bind(HOST, 0) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        async with asyncio.TaskGroup() as group:
            serving = api.serve_on(settings, listener, stop, Telemetry(), Metrics())  # nobody listens: a test's output is its own
            spawn(group, serving, "trial-api")
            try:
                yield url  # the listener takes connections already; they are answered once the server is up
            finally:
                stop.set()


class Trial:
    """One database, its API, and its worker on demand."""

    def __init__(self, settings: Settings, db: Database, *, url: str, api_key: str) -> None:
        self._settings = settings
        self._db = db
        self.url = url
        self.api_key = api_key

    async def run_all(
        self, *, handlers: Iterable[str] = (), with_scheduled: bool = False, runs_max: int = 10_000, seconds_max: float = 60.0
    ) -> list[Ran]:
        """Run what is due, and what comes of it, until nothing is left; answers each run in the order they ended.

        handlers: modules to import first. with_scheduled: what waits for its time, or for its backoff, is due too. Raises StillRunning.
        """
        registry = load_registry(handlers)
        ran: list[Ran] = []
        try:
            async with asyncio.timeout(seconds_max):
                for _ in range(PASSES_MAX):
                    await self._make_due(with_scheduled=with_scheduled)
                    found = await self._pass(registry, runs_left=runs_max - len(ran))
                    ran += found
                    if not found:
                        return ran
                    if len(ran) >= runs_max:
                        raise StillRunning(f"there is still something to run after {len(ran)} runs")
        except TimeoutError:
            raise StillRunning(f"there is still something to run after {seconds_max:g} s and {len(ran)} runs") from None
        raise StillRunning(f"there is still something to run after {PASSES_MAX} passes")

    async def _make_due(self, *, with_scheduled: bool) -> None:
        """Do what the reaper would have done by now, or by the end of time."""
        now = datetime.now(UTC) + FAR if with_scheduled else None
        inbox = Inbox(self._db, submit_defaults(self._settings), wake=lambda _lane: None)
        while await inbox.receive() or await upkeep.promote(self._db, now=now):
            pass
        await upkeep.sweep_concurrency_keys(self._db)

    async def _pass(self, registry: Registry, *, runs_left: int) -> list[Ran]:
        """Run a worker until it finds nothing."""
        options = database_options(self._settings, worker_id=f"trial-{secrets.token_hex(4)}")
        open_backend = backend_opener(self._settings, options, registry, clock=SystemClock())
        idle = asyncio.Event()
        tape = _Tape(runs_left)
        worker = Worker(registry, lambda: _Recorded(open_backend(), tape, idle), options)
        await worker.run(idle, asyncio.Event())
        return tape.ran


@dataclass(slots=True)
class _Tape:
    """What a worker's backends did, all of them together."""

    runs_max: int
    held: dict[UUID, Lease] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)


class _Recorded:
    """A Backend that keeps what is settled, and says when nothing is left to do."""

    def __init__(self, inner: Backend, tape: _Tape, idle: asyncio.Event) -> None:
        self._inner = inner
        self._tape = tape
        self._idle = idle

    @property
    def directive(self) -> Directive:
        return self._inner.directive

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        leases = await self._inner.claim(jobs_max=jobs_max)
        self._tape.held.update((lease.token, lease) for lease in leases)
        return leases

    async def wait(self, *, timeout_s: float) -> None:
        if not self._tape.held:
            self._idle.set()
        await self._inner.wait(timeout_s=timeout_s)

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        return await self._inner.heartbeat(beats)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        answers = await self._inner.settle(settlements)
        for settlement, answer in zip(settlements, answers, strict=True):
            lease = self._tape.held.pop(settlement.token, None)
            if lease is not None and answer.next_status is not None:
                self._tape.ran.append(_ran(lease, settlement.outcome, answer.next_status))
        if len(self._tape.ran) >= self._tape.runs_max:
            self._idle.set()
        return answers


def _ran(lease: Lease, outcome: Outcome, status: str) -> Ran:
    result = None if outcome.result_json is None else orjson.loads(outcome.result_json)
    return Ran(lease.job_id, lease.job_type, lease.standing.attempt, status, result, outcome.failure, outcome.ran_s)
