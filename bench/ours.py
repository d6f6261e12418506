"""jobqueue itself, two ways in: through operations.submit in this process, and over HTTP to `jobqueue api`.

Ten tenants in turn, an idempotency key for each job, history, wake-ups, exact counts: everything is on. Caps and rates are off, since
they are what holds a tenant back; nothing else differs from the defaults (ENVIRONMENT).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from bench.contender import CLIENTS, MANY, TENANTS, Command, Producer
from bench.http_client import HttpClient, Refused
from bench.process import Running, running
from jobqueue.aio.clock import SystemClock
from jobqueue.apps.embedded import free_port
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.domain.job import JobRequest
from jobqueue.operations import migrations, tenants
from jobqueue.operations.naming import NameBook
from jobqueue.operations.submit import SubmitDefaults, Submitter
from jobqueue.operations.wakeups import Waker
from jobqueue.store import jobs as store
from jobqueue.store.pool import Database

HOST: Final = "127.0.0.1"
PRODUCER_CONNECTIONS: Final = 5
STORE_S_MAX: Final = 30.0
LOCK_TIMEOUT_MS: Final = 1_000
READY_S_MAX: Final = 120.0  # on a machine busy with other work
POLL_S: Final = 0.02
LOAD_ROWS: Final = 1_000
NO_LIMIT: Final = 1_000_000_000
ENVIRONMENT: Final = {
    "JOBQUEUE_TENANT_MAX_CONCURRENT": "0",
    "JOBQUEUE_TENANT_MAX_QUEUED": str(NO_LIMIT),
    "JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "JOBQUEUE_METRICS_PORT": "0",
    "JOBQUEUE_HANDLERS": "bench.handlers",
}
DEFAULTS: Final = SubmitDefaults(max_attempts=3, expires_in_s=None, max_queued=NO_LIMIT)
IS_DRAINED: Final = "SELECT NOT EXISTS (SELECT FROM jobqueue.ready) AND NOT EXISTS (SELECT FROM jobqueue.lease)"
DRAINED: Final = """
    SELECT (SELECT count(*) FROM jobqueue.outcome WHERE state = 'succeeded'),
      extract(epoch FROM min(leased_at)), extract(epoch FROM max(at))
    FROM jobqueue.event WHERE type = 'succeeded'
"""
COMMAND: Final = [sys.executable, "-m", "jobqueue.cli.main"]


def request(number: int, *, job_type: str) -> JobRequest:
    """Make a request as the HTTP door does after parsing."""
    data = f'{{"n":{number}}}'
    key = str(uuid4())
    return JobRequest(job_type=job_type, data_json=data, key_hash=_hash(key), request_hash=_hash(job_type + data), idempotency_key=key)


def _hash(text: str) -> UUID:
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


class InProcess:
    """operations.submit.Submitter for single jobs; the store's statement for batches."""

    def __init__(self, db: Database, names: NameBook, submitter: Submitter, tenant_ids: list[int]) -> None:
        self._db = db
        self._names = names
        self._submitter = submitter
        self._tenant_ids = tenant_ids

    async def submit(self, number: int, *, job_type: str) -> None:
        """Submit one job."""
        await self._submitter.submit(self._tenant_ids[number % TENANTS], request(number, job_type=job_type))

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Store a batch."""
        queue_id = (await self._names.queue_ids(["default"]))["default"]
        type_id = (await self._names.type_ids([job_type]))[job_type]
        jobs = [
            store.NewJob(self._tenant_ids[number % TENANTS], queue_id, type_id, None, None, request(number, job_type=job_type))
            for number in range(first, first + count)
        ]
        await store.submit(
            self._db, jobs, default_max_attempts=DEFAULTS.max_attempts, lock_timeout_ms=LOCK_TIMEOUT_MS, deadline_s=STORE_S_MAX
        )

    async def load(self, rows: int, *, job_type: str) -> None:
        """Store rows, a batch a statement."""
        for first in range(0, rows, LOAD_ROWS):
            await self.submit_many(first, min(LOAD_ROWS, rows - first), job_type=job_type)


class Jobqueue:
    """Ours, with its way in opened in this process."""

    name = "jobqueue"
    drain_jobs_max = MANY
    is_drained_sql: str | None = IS_DRAINED
    drained_sql: str | None = DRAINED
    ended_sql: str | None = "SELECT floor(extract(epoch FROM finished_at) * 10)::bigint, count(*) FROM jobqueue.outcome GROUP BY 1"

    async def install(self, dsn: str) -> None:
        """Migrate, and make the tenants."""
        await migrations.upgrade(dsn)
        db = await Database.open(dsn, size=1, application_name="bench")
        for number in range(TENANTS):
            await tenants.create(db, f"tenant-{number}", max_concurrent=0)
        await db.close()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Run a Submitter and a Waker, as the API does."""
        db = await Database.open(dsn, size=PRODUCER_CONNECTIONS, application_name="bench")
        clock = SystemClock()
        waker = Waker(db, clock=clock)
        names = NameBook(db)
        submitter = Submitter(db, names, DEFAULTS, clock=clock, wake=waker.wake)
        tenant_ids = [await tenants.find(db, f"tenant-{number}") for number in range(TENANTS)]
        async with asyncio.TaskGroup() as group:
            services = [group.create_task(waker.run()), group.create_task(submitter.run())]
            try:
                yield InProcess(db, names, submitter, tenant_ids)
            finally:
                for service in reversed(services):
                    service.cancel()
                    await asyncio.wait([service])
                await db.close()

    def worker(self, dsn: str) -> Command:
        """`jobqueue worker`."""
        return Command([*COMMAND, "worker"], ENVIRONMENT | {"JOBQUEUE_DATABASE_URL": dsn})


class OverHttp:
    """`POST /v1/jobs` on keep-alive connections, each with its own tenant's API key."""

    def __init__(self, clients: list[HttpClient]) -> None:
        self._free = clients

    async def submit(self, number: int, *, job_type: str) -> None:
        """Submit one job on a free connection; there are as many as there are clients."""
        client = self._free.pop()
        try:
            body = b'{"payload":{"job_type":"%b","data":{"n":%d}}}' % (job_type.encode(), number)
            await client.post(b"/v1/jobs", body, idempotency_key=str(uuid4()), expected=201)
        finally:
            self._free.append(client)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Submit a batch on a free connection."""
        job = b'{"idempotency_key":"%b","payload":{"job_type":"%b","data":{"n":%d}}}'
        jobs = b",".join(job % (uuid4().hex.encode(), job_type.encode(), number) for number in range(first, first + count))
        await self._post(b"/v1/jobs/batch", b'{"jobs":[%b]}' % jobs)

    async def load(self, rows: int, *, job_type: str) -> None:
        """Import a file of rows, one JSON object a line."""
        lines = b"".join(b'{"n":%d}\n' % number for number in range(rows))
        await self._post(b"/v1/jobs/import?job_type=" + job_type.encode(), lines, kind=b"application/x-ndjson")

    async def _post(self, path: bytes, body: bytes, *, kind: bytes = b"application/json") -> None:
        client = self._free.pop()
        try:
            status, answer = await client.request(b"POST", path, extra=b"Content-Type: %b\r\n" % kind, body=body)
        finally:
            self._free.append(client)
        if status != 200:
            raise Refused(f"POST {path.decode()}: {status} {answer[:1000].decode()}")


class JobqueueOverHttp(Jobqueue):
    """Ours, with `jobqueue api` as a real process in front."""

    name = "jobqueue, HTTP"

    def __init__(self, directory: Path) -> None:
        """directory: where the API's log goes."""
        self._directory = directory

    @asynccontextmanager
    async def serving(self, dsn: str) -> AsyncIterator[tuple[int, list[str]]]:
        """Start the API; answers its port and a key of each tenant."""
        keys = await _make_keys(dsn)
        port = free_port()
        command = Command(
            [*COMMAND, "api", "--host", HOST, "--port", str(port)],
            ENVIRONMENT | {"JOBQUEUE_DATABASE_URL": dsn, "JOBQUEUE_API_SECRET_KEY": secrets.token_hex(32)},
        )
        async with running(command, self._directory / "api.log") as process:
            await _until_ready(port, process)
            yield port, keys

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Start the API and connect the clients."""
        async with self.serving(dsn) as (port, keys):
            clients = [await HttpClient.connect(HOST, port, {"Authorization": f"Bearer {keys[n % TENANTS]}"}) for n in range(CLIENTS)]
            try:
                yield OverHttp(list(clients))
            finally:
                for client in clients:
                    client.close()


async def _make_keys(dsn: str) -> list[str]:
    db = await Database.open(dsn, size=1, application_name="bench")
    try:
        keys = []
        for number in range(TENANTS):
            tenant_id = await tenants.find(db, f"tenant-{number}")
            random_bytes = secrets.token_bytes(ID_BYTES + SECRET_BYTES)
            keys.append((await tenants.create_api_key(db, tenant_id, name="bench", scopes=None, random_bytes=random_bytes))[1])
        return keys
    finally:
        await db.close()


async def _until_ready(port: int, process: Running) -> None:
    async with asyncio.timeout(READY_S_MAX):
        while not await _is_ready(port):
            process.check()
            await asyncio.sleep(POLL_S)


async def _is_ready(port: int) -> bool:
    try:
        client = await HttpClient.connect(HOST, port, {})
        status, _ = await client.request(b"GET", b"/healthz/ready")
    except OSError:
        return False
    client.close()
    return status == 200
