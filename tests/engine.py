"""Arrange the engine for a test: tenants, jobs with chosen fields, claims, outcomes; and read back what became of them.

Everything goes through `operations`, as the product does it; only reading back and arranging the impossible use SQL.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from jobqueue.aio.clock import Clock, SystemClock
from jobqueue.domain.job import JobRequest, JobView, Submitted
from jobqueue.domain.lease import Beat, BeatStatus, Lease, Settled, Settlement
from jobqueue.domain.lifecycle import Event, Status
from jobqueue.domain.outcome import Failure, Outcome, OutcomeKind
from jobqueue.domain.rotation import Lane
from jobqueue.operations import jobs, leases, tenants, upkeep, workers
from jobqueue.operations.jobs import Caller
from jobqueue.operations.leases import Claimer, LeaseTerms, Recovered
from jobqueue.operations.naming import NameBook
from jobqueue.operations.submit import SubmitDefaults, Submitter
from jobqueue.store.pool import Database

TERMS: Final = LeaseTerms(
    lease_s=0.1,  # shorter than any test server has been up, or recovery would spare the lease
    timeout_s=3600,
    cancel_grace_s=30.0,
    tenant_cap=0,
    crashes_max=3,
    retry_delay_s_base=5.0,
    retry_delay_s_max=3600.0,
)
END_LEASE: Final = """
UPDATE jobqueue.lease
SET lease_s = 0.1, expires_at = CASE WHEN job_id = $1 THEN timestamptz '-infinity' ELSE clock_timestamp() + interval '1 hour' END
"""
"""Have the lease of one job run out, and no other's. Short ones: a server that was just started spares those longer than it has been up."""
UP_S: Final = 1e6
"""Long enough for every lease to have been renewed since the reaper came up."""
WAIT_S_MAX: Final = 60.0
PATIENCE_S: Final = 60.0

SUCCESS: Final = OutcomeKind.SUCCEEDED
FAILURE: Final = OutcomeKind.FAILED


def digest(*parts: object) -> UUID:
    """128 bits of a hash, as keys and requests are known by."""
    return UUID(bytes=hashlib.sha256(repr(parts).encode()).digest()[:16])


def request(job_type: str = "t", *, key: str | None = None, data: str = "{}", **fields: Any) -> JobRequest:
    """A job as it is asked for. key: its idempotency key; the request's hash is that of its type and data."""
    return JobRequest(
        job_type=job_type,
        data_json=data,
        key_hash=None if key is None else digest(key),
        request_hash=None if key is None else digest(job_type, data),
        idempotency_key=key,
        **fields,
    )


def outcome(kind: OutcomeKind = SUCCESS, *, ran_s: float | None = 0.0, **fields: Any) -> Outcome:
    """How a run ended; ran_s None: its handler never started. A failure gets an error."""
    if kind is FAILURE:
        fields.setdefault("failure", Failure("Boom", "it broke"))
    return Outcome(kind, ran_s=ran_s, **fields)


def settlement(lease: Lease, ended: Outcome) -> Settlement:
    """A lease with how it ended, as the acker makes it."""
    return Settlement(lease.job_id, lease.token, lease.standing, ended, lease.key_id)


class Engine:
    """One migrated database, and the operations on it."""

    def __init__(self, dsn: str, db: Database, raw: Any) -> None:
        self.dsn = dsn
        self.db = db
        self.raw = raw
        self.clock: Clock = SystemClock()
        self.names = NameBook(db)
        self.terms = TERMS
        self.woken: list[Lane] = []
        self._worker_ids: dict[str, int] = {}

    # -------------------------------------------------------------------------------------------------- in

    async def tenant(self, name: str = "acme", **limits: int) -> Caller:
        """Make a tenant. limits: weight, max_concurrent, max_queued."""
        caller = Caller(await tenants.create(self.db, name, plan="pro"), name)
        for column, value in {"weight": 1, **limits}.items():
            await self.raw.execute(f"UPDATE jobqueue.tenant SET {column} = $1 WHERE tenant_id = $2", value, caller.tenant_id)
        return caller

    async def queue(self, caller: Caller, name: str = "default", **settings: Any) -> None:
        """Set a tenant's queue: is_paused, max_concurrent, key_max_concurrent, retry_base_s."""
        queue_id = (await self.names.queue_ids([name]))[name]
        for column, value in settings.items():
            await self.raw.execute(
                f"INSERT INTO jobqueue.tenant_queue (tenant_id, queue_id, {column}) VALUES ($1, $2, $3)"
                f" ON CONFLICT (tenant_id, queue_id) DO UPDATE SET {column} = excluded.{column}",
                caller.tenant_id,
                queue_id,
                value,
            )

    @contextlib.asynccontextmanager
    async def submitter(self, **defaults: Any) -> AsyncIterator[Submitter]:
        """A running way in."""
        settings = SubmitDefaults(**{"max_attempts": 3, "expires_in_s": None, "max_queued": 1_000_000, **defaults})
        submitter = Submitter(self.db, self.names, settings, clock=self.clock, wake=self.woken.append)
        service = asyncio.create_task(submitter.run())
        try:
            yield submitter
        finally:
            service.cancel()
            await asyncio.wait([service])

    async def submit_all(self, caller: Caller, requests: Sequence[JobRequest]) -> list[Submitted]:
        """Store jobs, concurrently, so in as few statements as it goes; answers in order."""
        async with self.submitter() as submitter:
            await submitter.room.take(caller.tenant_id)  # once, so that a thousand need not count at once
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(submitter.submit(caller.tenant_id, asked)) for asked in requests]
        return [task.result() for task in tasks]

    async def submit(self, caller: Caller, job_type: str = "t", **fields: Any) -> UUID:
        """Store one job and answer its id."""
        (submitted,) = await self.submit_all(caller, [request(job_type, **fields)])
        return submitted.job_id

    # ------------------------------------------------------------------------------------------ out and home

    async def worker_id(self, name: str = "worker-1") -> int:
        """Make a worker known."""
        if name not in self._worker_ids:
            self._worker_ids[name] = await workers.register(
                self.db, name=name, queues=None, job_types=["t"], concurrency=10, version="test"
            )
        return self._worker_ids[name]

    async def claimer(
        self,
        *,
        types: Sequence[str] = ("t",),
        queues: Sequence[str] | None = None,
        worker: str = "worker-1",
        terms: LeaseTerms | None = None,
    ) -> Claimer:
        """A claimer with a memory of its own."""
        return Claimer(
            self.db,
            self.names,
            terms or self.terms,
            worker_id=await self.worker_id(worker),
            queues=queues,
            job_types=types,
            clock=self.clock,
        )

    async def claim(self, jobs_max: int = 100, **fields: Any) -> list[Lease]:
        """Claim once, without a memory."""
        return await (await self.claimer(**fields)).claim(jobs_max=jobs_max)

    async def claim_one(self, **fields: Any) -> Lease:
        """Claim the one job there is."""
        (lease,) = await self.claim(**fields)
        return lease

    async def start(self, lease: Lease, *, ago_s: float = 0.0, **told: Any) -> BeatStatus:
        """Report that a handler has started."""
        (status,) = await leases.heartbeat(self.db, [Beat(lease.job_id, lease.token, ago_s, **told)])
        return status

    async def beat(self, lease: Lease, **told: Any) -> BeatStatus:
        """Renew one lease."""
        (status,) = await leases.heartbeat(self.db, [Beat(lease.job_id, lease.token, **told)])
        return status

    async def settle(self, lease: Lease, kind: OutcomeKind = SUCCESS, **fields: Any) -> Settled:
        """Settle one lease."""
        (settled,) = await self.settle_all([(lease, outcome(kind, **fields))])
        return settled

    async def settle_all(self, ended: Sequence[tuple[Lease, Outcome]]) -> list[Settled]:
        """Settle a batch; answers in order."""
        return await leases.settle(self.db, [settlement(lease, how) for lease, how in ended])

    async def recover(self, *, after_s: float = 3600.0, up_s: float = UP_S, **fields: Any) -> list[Recovered]:
        """Recover as if `after_s` had passed; every lease of TERMS is over by then."""
        return await leases.recover(self.db, self.terms, resumed_for_s=up_s, now=await self.later(after_s), **fields)

    async def promote(self, *, after_s: float = 86400.0) -> dict[Lane, int]:
        """Promote as if `after_s` had passed."""
        return await upkeep.promote(self.db, now=await self.later(after_s))

    # --------------------------------------------------------------------------------------------- arranged

    async def dlq(self, caller: Caller, **fields: Any) -> UUID:
        """A job that was buried at its first attempt."""
        job_id = await self.submit(caller, **fields)
        await self.settle(await self.claim_one(), FAILURE, is_retryable=False)
        return job_id

    async def succeeded(self, caller: Caller, **fields: Any) -> UUID:
        """A job that ran."""
        job_id = await self.submit(caller, **fields)
        await self.settle(await self.claim_one())
        return job_id

    async def failed(self, caller: Caller, **fields: Any) -> UUID:
        """A job that waits for its second attempt."""
        job_id = await self.submit(caller, **fields)
        await self.settle(await self.claim_one(), FAILURE, delay_s=3600.0)
        return job_id

    # --------------------------------------------------------------------------------------------- read back

    async def now(self) -> datetime:
        """The database's clock."""
        return datetime.fromtimestamp(await upkeep.clock_s(self.db), UTC)

    async def later(self, seconds: float) -> datetime:
        """The database's clock, moved."""
        return await self.now() + timedelta(seconds=seconds)

    async def get(self, caller: Caller, job_id: UUID, **fields: Any) -> JobView:
        """Read a job as users see it."""
        return await jobs.get(self.db, caller, job_id, tenant_cap=0, **fields)

    async def status(self, caller: Caller, job_id: UUID) -> Status:
        """Read a job's status as users see it."""
        return (await self.get(caller, job_id)).status

    async def history(self, caller: Caller, job_id: UUID) -> list[str]:
        """Read the types of a job's events, in order; they are checked to grow in seq and time on the way.

        A start told after a cancellation was asked for keeps its own, earlier time.
        """
        found = (await jobs.events(self.db, caller, job_id)).events
        assert all(one.seq < two.seq for one, two in pairwise(found)), found
        assert all(one.at <= two.at or one.type is Event.CANCEL_REQUESTED for one, two in pairwise(found)), found
        return [event.type.value for event in found]

    async def row(self, table: str, job_id: UUID) -> Any:
        """A job's row of a place table, None when it is not there."""
        return await self.raw.fetchrow(f"SELECT * FROM jobqueue.{table} WHERE job_id = $1", job_id)

    async def check_counts(self) -> None:
        """Compare the tally of every tenant with a count of its rows, and see that each job is in one place."""
        counted = await self.raw.fetch(
            "SELECT t.tenant_id, t.status, sum(t.n)::int AS n FROM jobqueue.tally t GROUP BY 1, 2 HAVING sum(t.n) <> 0 ORDER BY 1, 2"
        )
        real = await self.raw.fetch(
            "SELECT s.tenant_id, s.status, count(*)::int AS n"
            " FROM (SELECT j.tenant_id, jobqueue.status_v1(j.tenant_id, j.job_id) AS status FROM jobqueue.job j) s"
            " WHERE s.status NOT IN ('leased', 'running') GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert [tuple(row) for row in counted] == [tuple(row) for row in real]
        assert await self.raw.fetch(PLACES_TWICE) == []

    async def connect(self) -> Any:
        """A connection of the test's own; the engine closes it."""
        return await asyncpg.connect(self.dsn, timeout=30)


class PatientDatabase(Database):
    """Waits longer than the product does: what a test shows must not depend on how busy its machine is. Deadlines under a second stay."""

    async def _try(self, work: Callable[[Any], Awaitable[Any]], deadline_s: float) -> Any:
        return await super()._try(work, max(deadline_s, PATIENCE_S) if deadline_s >= 1 else deadline_s)


class OneConnection(Database):
    """Operations on one connection, inside the transaction that is open there."""

    def __init__(self, connection: Any) -> None:
        super().__init__(None, size=1)
        self._only = connection

    async def _try(self, work: Callable[[Any], Awaitable[Any]], deadline_s: float) -> Any:
        return await work(self._only)


PLACES: Final = ("ready", "parked", "scheduled", "blocked", "lease", "ended")
PLACES_TWICE: Final = (
    "SELECT job_id, count(*) FROM ("
    + " UNION ALL ".join(f"SELECT job_id FROM jobqueue.{place}" for place in PLACES)
    + ") places GROUP BY job_id HAVING count(*) > 1"
)


@contextlib.asynccontextmanager
async def open_engine(dsn: str, *, size: int = 6) -> AsyncIterator[Engine]:
    """Connect to a migrated database."""
    db = await PatientDatabase.open(f"{dsn}?search_path=pg_catalog", size=size, application_name="test")  # every name has its schema
    raw = await asyncpg.connect(dsn, timeout=30)
    try:
        yield Engine(dsn, db, raw)
    finally:
        raw.terminate()
        await db.close()


async def until_waiting(raw: Any, pid: int, *, on: int | None = None) -> None:
    """Return when the backend `pid` waits for a lock (of the backend `on`)."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            blockers = await raw.fetchval("SELECT pg_blocking_pids($1)", pid)
            if blockers and (on is None or on in blockers):
                return


async def until_somebody_waits(raw: Any, *, on: int) -> int:
    """Return the pid of a backend that waits for a lock of the backend `on`."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            pid = await raw.fetchval("SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)) LIMIT 1", on)
            if pid is not None:
                return int(pid)


def any_id() -> UUID:
    """An id no job has."""
    return uuid4()
