"""Caps over eight worker processes, read from the history: never over one, and without kills hardly a slot idle.

    python -m tests.limits.caps [--seconds 60] [--kills]

Twenty tenants have caps of 1 to 10 jobs; each has a queue with a cap of its own, one with concurrency keys, and one with neither; jobs take
1 to 3 s and never run out. With --kills a worker dies every two seconds and is started again. Then, at every moment of the history,
counting a job from its lease to its settle or recovery: no tenant, queue or key over its cap. Without kills: of cap x seconds at least
95 % was held.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from jobqueue.domain.history import EventRow, unpack
from jobqueue.domain.lifecycle import Event
from tests import postgres
from tests.engine import open_engine, request
from tests.whole.roles import Roles

TENANTS: Final = 20
WORKERS: Final = 8
CONCURRENCY: Final = 20
JOB_S: Final = (1.0, 3.0)
KILL_EVERY_S: Final = 2.0
START_S_MAX: Final = 120.0
WARM_UP_S: Final = 4.0
"""From when all workers are known to when slots are counted."""
HELD_MIN: Final = 0.95
ENDS: Final = frozenset({Event.SUCCEEDED, Event.FAILED, Event.LEASE_EXPIRED, Event.RELEASED, Event.SNOOZED, Event.CANCELLED, Event.DLQ})
Limit = tuple[Any, ...]
"""('tenant', id), ('queue', tenant, queue) or ('key', id)."""


@dataclass
class Verdict:
    """What the history says. highest: of each limit, the most it had at once, and its cap."""

    runs: int = 0
    kills: int = 0
    highest: dict[Limit, tuple[int, int]] = field(default_factory=dict)
    held: float = 0.0

    def over(self) -> dict[Limit, tuple[int, int]]:
        """The limits that were passed."""
        return {limit: (most, cap) for limit, (most, cap) in self.highest.items() if most > cap}

    def tell(self) -> str:
        """Write one line of figures."""
        full = sum(most == cap for most, cap in self.highest.values())
        return (
            f"{self.runs} runs, {self.kills} kills: of {len(self.highest)} caps {full} were reached and {len(self.over())} passed;"
            f" {self.held:.1%} of tenants' cap x seconds held"
        )


def cap_of(tenant: int) -> int:
    """The tenant's cap: 1 to 10, each twice."""
    return 1 + tenant % 10


async def arrange(dsn: str, seconds: float, chance: random.Random) -> dict[Limit, int]:
    """Make tenants with work for the time and more; answers the caps."""
    caps: dict[Limit, int] = {}
    async with open_engine(dsn) as engine:
        queue_ids = await engine.names.queue_ids(["capped", "keyed", "plain"])
        for number in range(TENANTS):
            cap = cap_of(number)
            caller = await engine.tenant(f"tenant-{number}", max_concurrent=cap)
            queue_cap, key_cap = 1 + (number * 7) % 10, 1 + number % 3
            await engine.queue(caller, "capped", max_concurrent=queue_cap)
            await engine.queue(caller, "keyed", key_max_concurrent=key_cap)
            caps["tenant", caller.tenant_id] = cap
            caps["queue", caller.tenant_id, queue_ids["capped"]] = queue_cap
            asked = [
                request(
                    "sleep",
                    data=f'{{"duration": {chance.uniform(*JOB_S):.3f}}}',
                    queue=(queue := chance.choice(("capped", "keyed", "plain"))),
                    concurrency_key=f"k{chance.randrange(4)}" if queue == "keyed" else None,
                )
                for _ in range(int(cap * (seconds + 20) / JOB_S[0]) + 20)
            ]
            for first in range(0, len(asked), 200):
                await engine.submit_all(caller, asked[first : first + 200])
            for row in await engine.raw.fetch("SELECT key_id FROM jobqueue.concurrency_key WHERE tenant_id = $1", caller.tenant_id):
                caps["key", row[0]] = key_cap
    return caps


async def keep_killing(roles: Roles, places: list[Any], start: Any, verdict: Verdict, chance: random.Random) -> None:
    """Kill a worker now and then and start another, until cancelled."""
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        place = chance.randrange(len(places))
        places[place].send_signal(signal.SIGKILL)
        places[place].wait()
        verdict.kills += 1
        places[place] = start()


async def run(dsn: str, log_dir: Path, *, seconds: float, has_kills: bool, seed: int = 1, workers: int = WORKERS) -> Verdict:
    """Run workers on a migrated database; answers what its history says."""
    chance, verdict = random.Random(seed), Verdict()
    caps = await arrange(dsn, seconds, chance)
    settings = {"JOBQUEUE_LEASE_SECONDS": "5", "JOBQUEUE_WORKER_CONCURRENCY": str(CONCURRENCY), "JOBQUEUE_LOG_LEVEL": "warning"}
    roles = Roles(dsn, log_dir, settings)
    try:
        roles.start("reaper")
        places = [roles.start("worker") for _ in range(workers)]
        await _until_there(dsn, workers)
        async with asyncio.TaskGroup() as group:
            killer = group.create_task(keep_killing(roles, places, lambda: roles.start("worker"), verdict, chance)) if has_kills else None
            await asyncio.sleep(WARM_UP_S + seconds)
            if killer is not None:
                killer.cancel()
        connection = await asyncpg.connect(dsn, timeout=30)
        try:
            await _judge(connection, caps, verdict, seconds)
        finally:
            await connection.close()
    finally:
        roles.stop()
    return verdict


async def _until_there(dsn: str, workers: int) -> None:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        async with asyncio.timeout(START_S_MAX):
            while await connection.fetchval("SELECT count(*) FROM jobqueue.worker") < workers:
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def _judge(connection: Any, caps: dict[Limit, int], verdict: Verdict, seconds: float) -> None:
    """Read every run's time out of the history and leases, and count."""
    ends_at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    edges: defaultdict[Limit, list[tuple[datetime, int]]] = defaultdict(list)
    held: defaultdict[Limit, float] = defaultdict(float)
    begins_at = ends_at - timedelta(seconds=seconds)
    for limits, begun, ended in _runs(await _history(connection), ends_at):
        verdict.runs += 1
        for limit in limits:
            if limit in caps:
                edges[limit] += [(begun, 1), (ended, -1)]
                held[limit] += max(0.0, (ended - max(begun, begins_at)).total_seconds())
    for limit, changes in edges.items():
        count = most = 0
        for _, change in sorted(changes):  # of one moment, the ends first
            count += change
            most = max(most, count)
        verdict.highest[limit] = (most, caps[limit])
    tenants = [limit for limit in caps if limit[0] == "tenant"]
    verdict.held = sum(held[limit] for limit in tenants) / sum(caps[limit] * seconds for limit in tenants)


async def _history(connection: Any) -> list[Any]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return list(
            await connection.fetch("""
                SELECT e.job_id, e.seq, e.type, e.then_type, e.at, e.leased_at, e.started_at, e.attempt, NULL AS worker_id, NULL AS data,
                  j.tenant_id, j.queue_id, j.key_id
                FROM jobqueue.event e JOIN jobqueue.job j ON j.job_id = e.job_id AND j.tenant_id = e.tenant_id
                UNION ALL
                SELECT l.job_id, 1 << 60, 'leased', NULL, l.claimed_at, NULL, NULL, l.attempt, NULL, NULL, l.tenant_id, l.queue_id, l.key_id
                FROM jobqueue.lease l WHERE l.reported_at IS NULL
                ORDER BY 1, 2
            """)
        )


def _runs(rows: Iterable[Any], ends_at: datetime) -> Iterable[tuple[list[Limit], datetime, datetime]]:
    """Each run: the limits it counted for, from its lease to its settle or recovery; what still runs ends now."""
    open_runs: dict[Any, tuple[list[Limit], datetime]] = {}
    for row in rows:
        limits: list[Limit] = [("tenant", row["tenant_id"]), ("queue", row["tenant_id"], row["queue_id"]), ("key", row["key_id"])]
        for event in unpack(EventRow(*tuple(row)[1:10])):
            if event.type is Event.LEASED:
                open_runs[row["job_id"]] = (limits, event.at)
            elif event.type in ENDS and row["job_id"] in open_runs:
                yield (*open_runs.pop(row["job_id"]), event.at)
    for limits, begun in open_runs.values():
        yield limits, begun, ends_at


async def main(arguments: argparse.Namespace) -> None:
    """Run on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-caps-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("caps")
            await postgres.migrate(server.dsn("caps"))
            verdict = await run(server.dsn("caps"), Path(directory), seconds=arguments.seconds, has_kills=arguments.kills)
    sys.stdout.write(f"{verdict.tell()}\n")
    assert not verdict.over(), verdict.over()
    assert arguments.kills or verdict.held >= HELD_MIN, verdict.tell()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", action="store_true")
    asyncio.run(main(parser.parse_args()))
