"""The engine without a worker: claims and settles of 1,000 and nothing between. It bounds what a worker can drain.

python -m bench.bare_engine DSN        claim and settle, until SIGTERM
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop

from bench.claim_head import TERMS
from bench.contender import NOOP, Command
from bench.ours import Jobqueue
from jobqueue.aio.clock import SystemClock
from jobqueue.domain.lease import Lease, Settlement
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.operations import leases, workers
from jobqueue.operations.database import Database, open_database
from jobqueue.operations.leases import Claimer
from jobqueue.operations.naming import NameBook

CONNECTIONS: Final = 4
SETTLES: Final = 2
"""Under way at once, beside a claim."""
JOBS_MAX: Final = 1_000
IDLE_S: Final = 0.01


class BareEngine(Jobqueue):
    """Our database without our worker."""

    name = "bare engine"

    def worker(self, dsn: str) -> Command:
        """This module."""
        return Command([sys.executable, "-m", "bench.bare_engine", dsn])


async def _work(dsn: str) -> None:
    db = await open_database(dsn, size=CONNECTIONS, application_name="bench")
    worker_id = await workers.register(db, name="bench", queues=None, job_types=[NOOP], concurrency=JOBS_MAX, version="bench")
    claimer = Claimer(db, NameBook(db), TERMS, worker_id=worker_id, queues=None, job_types=[NOOP], clock=SystemClock())
    room = asyncio.Semaphore(SETTLES)
    async with asyncio.TaskGroup() as group:
        while True:
            if claimed := await claimer.claim(jobs_max=JOBS_MAX):
                await room.acquire()
                group.create_task(_settle(db, claimed, room))
            else:
                await asyncio.sleep(IDLE_S)


async def _settle(db: Database, claimed: list[Lease], room: asyncio.Semaphore) -> None:
    try:
        succeeded = Outcome(OutcomeKind.SUCCEEDED, "null", ran_s=0.0)
        await leases.settle(db, [Settlement(one.job_id, one.token, one.standing, succeeded, one.key_id, one.tenant) for one in claimed])
    finally:
        room.release()


if __name__ == "__main__":
    uvloop.run(_work(sys.argv[1]))
