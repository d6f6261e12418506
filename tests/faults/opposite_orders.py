"""Batches over the same jobs in opposite orders, from 8 connections: claims, beats, settles, cancels, submits, recovery (T40).

    python -m tests.faults.opposite_orders [--seconds 60] [--seed N]

Every actor takes from one heap of leases, so batches overlap as no real worker's do. Postgres may choose a victim of a deadlock as long as
nobody notices: the statement is run again, no answer is wrong, every job is in one place and the counts are right.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from typing import Any, Final

from jobqueue.domain.errors import Conflict
from jobqueue.domain.lease import Beat, Lease, SettleStatus
from jobqueue.operations import jobs, leases
from jobqueue.operations.jobs import Caller
from jobqueue.store.pool import Record
from tests import postgres
from tests.engine import UP_S, Engine, open_engine, outcome, request, settlement

ACTORS: Final = 8
HEAP_MAX: Final = 300
BATCH: Final = 40


class Brawl:
    """The actors, and what they saw."""

    def __init__(self, engine: Engine, caller: Caller, *, seed: int, seconds: float) -> None:
        self.engine = engine
        self.caller = caller
        self.seed = seed
        self.until = time.monotonic() + seconds
        self.heap: list[Lease] = []
        self.settled: Counter[object] = Counter()
        self.seen: Counter[str] = Counter()

    async def run(self) -> None:
        """Fight until the time is over."""
        async with asyncio.TaskGroup() as group:
            for number in range(ACTORS):
                group.create_task(self._act(random.Random(self.seed + number), number))

    async def _act(self, chance: random.Random, number: int) -> None:
        acts = [self._claim, self._beat, self._settle, self._settle, self._cancel, self._submit, self._recover]
        while time.monotonic() < self.until:
            act = chance.choice(acts)
            await act(chance, number)
            self.seen[act.__name__.strip("_")] += 1

    def _some(self, chance: random.Random) -> list[Lease]:
        return chance.sample(self.heap, min(BATCH, len(self.heap)))

    async def _submit(self, chance: random.Random, number: int) -> None:
        keys = chance.sample(range(20_000), BATCH)  # some are taken already, some by others right now
        asked = [request(key=f"k-{key}", concurrency_key=f"c-{key % 5}" if key % 3 == 0 else None, max_attempts=20) for key in keys]
        await self.engine.submit_all(self.caller, asked)

    async def _claim(self, chance: random.Random, number: int) -> None:
        if len(self.heap) < HEAP_MAX:
            self.heap += await self.engine.claim(BATCH, worker=f"worker-{number}")

    async def _beat(self, chance: random.Random, number: int) -> None:
        if beats := [Beat(lease.job_id, lease.token, 0.1) for lease in self._some(chance)]:
            await leases.heartbeat(self.engine.db, beats)

    async def _settle(self, chance: random.Random, number: int) -> None:
        batch = self._some(chance)
        if not batch:
            return
        answers = await leases.settle(self.engine.db, [settlement(lease, outcome()) for lease in batch])
        for lease, answer in zip(batch, answers, strict=True):
            self.seen[answer.status.value] += 1
            self.settled[lease.token] += answer.status is SettleStatus.SETTLED
            with contextlib.suppress(ValueError):  # somebody else has taken it off the heap
                self.heap.remove(lease)

    async def _cancel(self, chance: random.Random, number: int) -> None:
        # a brawl before this one may have left jobs of another tenant's
        ours = [lease for lease in self._some(chance) if lease.tenant == self.caller.tenant]
        for lease in ours[:5]:
            with contextlib.suppress(Conflict):
                await jobs.cancel(self.engine.db, self.caller, lease.job_id, grace_s=0.05)

    async def _recover(self, chance: random.Random, number: int) -> None:
        await leases.recover(self.engine.db, self.engine.terms, resumed_for_s=UP_S)

    async def check(self) -> int:
        """See that nothing is wrong; answers how many deadlocks Postgres had to break. Raises AssertionError."""
        assert max(self.settled.values(), default=0) <= 1, "a token was told `settled` twice"
        await self.engine.check_counts()
        found: Record = await self.engine.raw.fetchrow("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(found["deadlocks"])


async def run(dsn: str, *, seed: int, seconds: float) -> tuple[Brawl, int]:
    """Fight on a migrated, empty database; answers what was seen and the number of deadlocks. Raises when something is wrong."""
    async with open_engine(dsn, size=ACTORS) as engine:
        caller = await engine.tenant(f"brawl-{seed}")
        await engine.queue(caller, key_max_concurrent=3)
        brawl = Brawl(engine, caller, seed=seed, seconds=seconds)
        await brawl.run()
        return brawl, await brawl.check()


async def main(arguments: Any) -> None:
    """Fight on a server of its own."""
    async with postgres.running_server() as server:
        await server.ensure_database("brawl")
        await postgres.migrate(server.dsn("brawl"))
        brawl, deadlocks = await run(server.dsn("brawl"), seed=arguments.seed, seconds=arguments.seconds)
    sys.stdout.write(f"{arguments.seconds:g} s, seed {arguments.seed}: {deadlocks} deadlocks; {dict(brawl.seen)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
