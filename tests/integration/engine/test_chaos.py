"""Everything at once, with backends killed under it: limits hold in every snapshot, every job stays in one place, and all drains after.

The seed is printed; JOBQUEUE_CHAOS_SEED repeats it as far as the scheduler allows.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobqueue.domain.errors import JobQueueError, Unavailable
from jobqueue.domain.lease import Lease
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, leases, upkeep
from jobqueue.operations.jobs import Caller
from tests.engine import UP_S, Engine, open_engine, outcome, request

JOBS = 3_000
TENANT_CAP, QUEUE_CAP, KEY_CAP = 7, 4, 2
CHAOS_S = 6.0
CLAIMERS = 6
KINDS = [OutcomeKind.SUCCEEDED] * 9 + [OutcomeKind.FAILED, OutcomeKind.SNOOZED, OutcomeKind.RELEASED, OutcomeKind.CANCELLED]

SNAPSHOT = """
SELECT
  (SELECT max(n) FROM (SELECT count(*) AS n FROM jobqueue.lease GROUP BY tenant_id) t) AS tenant,
  (SELECT max(n) FROM (SELECT count(*) AS n FROM jobqueue.lease l JOIN jobqueue.tenant_queue q USING (tenant_id, queue_id)
    WHERE q.max_concurrent IS NOT NULL GROUP BY tenant_id, queue_id) q) AS queue,
  (SELECT max(n) FROM (SELECT count(*) AS n FROM jobqueue.lease WHERE key_id IS NOT NULL GROUP BY key_id) k) AS key,
  (SELECT count(*) FROM (SELECT job_id FROM jobqueue.ready UNION ALL SELECT job_id FROM jobqueue.parked
    UNION ALL SELECT job_id FROM jobqueue.scheduled UNION ALL SELECT job_id FROM jobqueue.lease UNION ALL SELECT job_id FROM jobqueue.ended
    UNION ALL SELECT job_id FROM jobqueue.outcome WHERE state = 'succeeded') p) AS jobs
"""


class Chaos:
    """What runs at once, and what was seen."""

    def __init__(self, engine: Engine, callers: list[Caller], seed: int) -> None:
        self.engine = engine
        self.callers = callers
        self.random = random.Random(seed)
        self.until = time.monotonic() + CHAOS_S
        self.seen: dict[str, int] = {
            "claimed": 0,
            "settled": 0,
            "kills": 0,
            "faults": 0,
            "snapshots": 0,
            "recovered": 0,
            "cancelled": 0,
            "retried": 0,
        }

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.until

    async def claimer(self, number: int) -> None:
        """A worker: claims, forgets some of what it holds (as a crash does), settles the rest."""
        claimer = await self.engine.claimer(types=["t", "u", "v"], worker=f"worker-{number}")
        held: list[Lease] = []
        while not self.is_over:
            try:
                found = await claimer.claim(jobs_max=self.random.choice([1, 5, 20]))
                held += found
                self.seen["claimed"] += len(found)
                self.random.shuffle(held)
                ending, held = held[: len(held) * 3 // 4 + 1], held[len(held) * 3 // 4 + 1 :]
                if self.random.random() < 0.3:
                    await leases.heartbeat(self.engine.db, [leases.Beat(lease.job_id, lease.token, 0.0) for lease in ending])
                ended = [(lease, outcome(self.random.choice(KINDS), delay_s=self.random.choice([0.0, 0.2]))) for lease in ending]
                if ended:
                    settled = await self.engine.settle_all(ended)
                    self.seen["settled"] += len(settled)
                if self.random.random() < 0.05:
                    held.clear()
            except Unavailable:
                self.seen["faults"] += 1
                claimer.forget()

    async def watcher(self, raw: Any) -> None:
        """Looks at all limits in one snapshot, again and again."""
        while not self.is_over:
            row = await raw.fetchrow(SNAPSHOT)
            self.seen["snapshots"] += 1
            for name, cap in (("tenant", TENANT_CAP), ("queue", QUEUE_CAP), ("key", KEY_CAP)):
                assert (row[name] or 0) <= cap, f"{name}: {row[name]} running, {cap} allowed"
            assert row["jobs"] == JOBS

    async def killer(self, raw: Any) -> None:
        """Ends backends of the pool, whatever they do."""
        while not self.is_over:
            pid = await raw.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'test' AND datname = current_database()"
                " ORDER BY random() LIMIT 1"
            )
            is_killed = pid is not None and await raw.fetchval("SELECT pg_terminate_backend($1)", pid)
            self.seen["kills"] += bool(is_killed)
            await asyncio.sleep(self.random.uniform(0.05, 0.2))  # the pace of the kills, not a wait for anything

    async def reaper(self) -> None:
        """All that time does."""
        while not self.is_over:
            with contextlib.suppress(Unavailable):
                found = await leases.recover(self.engine.db, self.engine.terms, resumed_for_s=UP_S)
                self.seen["recovered"] += len(found)
                await upkeep.promote(self.engine.db)
                await upkeep.sweep_concurrency_keys(self.engine.db)
                await upkeep.fold_tally(self.engine.db)
            await asyncio.sleep(0.05)

    async def person(self) -> None:
        """Cancels and retries what it comes across."""
        while not self.is_over:
            for row in await self.engine.raw.fetch("SELECT tenant_id, job_id FROM jobqueue.job TABLESAMPLE SYSTEM (5) LIMIT 10"):
                caller = next(caller for caller in self.callers if caller.tenant_id == row["tenant_id"])
                with contextlib.suppress(JobQueueError):
                    await jobs.cancel(self.engine.db, caller, row["job_id"], grace_s=0.1)
                    self.seen["cancelled"] += 1
                if self.random.random() < 0.5:
                    with contextlib.suppress(JobQueueError):
                        await jobs.retry(self.engine.db, caller, row["job_id"], is_reset=True)
                        self.seen["retried"] += 1


async def arrange(engine: Engine) -> list[Caller]:
    """Tenants with limits at all three levels, and jobs of all priorities, some with keys."""
    callers = [await engine.tenant(f"tenant-{number}", max_concurrent=TENANT_CAP) for number in range(5)]
    for caller in callers:
        await engine.queue(caller, "capped", max_concurrent=QUEUE_CAP, key_max_concurrent=KEY_CAP)
        await engine.queue(caller, "open", key_max_concurrent=KEY_CAP)
        asked = [
            request(
                "tuv"[number % 3],
                queue=("capped", "open")[number % 2],
                priority=number % 4,
                concurrency_key=f"k-{number % 7}" if number % 5 < 2 else None,
                max_attempts=5,
            )
            for number in range(JOBS // len(callers))
        ]
        await engine.submit_all(caller, asked)
    return callers


async def drain(engine: Engine) -> None:
    """Bring what is left home, with nobody in the way."""
    claimer = await engine.claimer(types=["t", "u", "v"], worker="worker-0")
    await engine.recover()
    idle = 0
    while idle < 3:
        found = await claimer.claim(jobs_max=500)
        await engine.settle_all([(lease, outcome()) for lease in found])
        await engine.promote()
        await upkeep.sweep_concurrency_keys(engine.db)
        idle = 0 if found else idle + 1
        if not found:
            claimer.forget()


@pytest_asyncio.fixture
async def engine(database: str) -> AsyncIterator[Engine]:
    """On a database of its own: whoever is killed leaves nothing behind for others."""
    async with open_engine(database, size=8) as engine:
        yield engine


@pytest.mark.slow
async def test_limits_places_and_counts_hold_under_kills(engine: Engine) -> None:
    seed = int(os.environ.get("JOBQUEUE_CHAOS_SEED", "20261126"))
    chaos = Chaos(engine, await arrange(engine), seed)
    killer, watcher = await engine.connect(), await engine.connect()
    async with asyncio.TaskGroup() as group:
        for number in range(CLAIMERS):
            group.create_task(chaos.claimer(number))
        for service in (chaos.watcher(watcher), chaos.killer(killer), chaos.reaper(), chaos.person()):
            group.create_task(service)
    killer.terminate()
    watcher.terminate()
    assert all(chaos.seen.values()), f"some of it never happened: {chaos.seen}"
    await engine.check_counts()
    await drain(engine)
    left = await engine.raw.fetch("SELECT jobqueue.status_v1(tenant_id, job_id) AS status, count(*) FROM jobqueue.job GROUP BY 1")
    assert {row["status"] for row in left} <= {"succeeded", "cancelled", "dlq"}
    assert sum(row["count"] for row in left) == JOBS
    await engine.check_counts()
    deadlocks = await engine.raw.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0
