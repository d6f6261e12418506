"""A worker's way to its jobs through Postgres itself: fast, for workers in the cluster. It serves all tenants."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import Unavailable
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement
from jobqueue.domain.rotation import Lane
from jobqueue.operations import leases, workers
from jobqueue.operations.database import Database, open_database
from jobqueue.operations.leases import Claimer, LeaseTerms
from jobqueue.operations.naming import NameBook
from jobqueue.operations.wakeups import Ear

CONNECTIONS: Final = 4
"""One claims, two settle, one is to spare."""
WORKER_BEAT_S: Final = 5.0
"""A worker is seen as gone after three of these."""
HELD_BACK_S: Final = (0.005, 0.02)
"""How soon to look again when lanes are known but a claim came up empty: another claimer may hold the tenants' gates."""


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """Where the database is and what this worker takes. direct_dsn bypasses a pooler; queues None: all of them."""

    dsn: str
    direct_dsn: str
    worker_name: str
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...]
    concurrency: int
    version: str
    terms: LeaseTerms


class PostgresBackend:
    """Claims, beats and settles on a pool of its own. `is_claiming` False: it only beats, for the heartbeater's thread."""

    def __init__(self, options: PostgresOptions, *, clock: Clock, is_claiming: bool = True) -> None:
        self._options = options
        self._clock = clock
        self._is_claiming = is_claiming
        self._bell = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self._db: Database | None = None
        self._claimer: Claimer | None = None
        self._worker_id: int | None = None
        self._beaten_at = float("-inf")
        self._is_held_back = False
        self._is_starved = False
        self.directive = Directive.RUN

    async def open(self) -> None:
        """Connect, register the worker, listen. Raises Unavailable."""
        size, purpose = (CONNECTIONS, "worker") if self._is_claiming else (1, "heartbeat")
        self._db = await open_database(self._options.dsn, size=size, application_name=f"jobqueue-{purpose}")
        self._stack.push_async_callback(self._db.close)
        self._worker_id = await self._register()
        if self._is_claiming:
            names = NameBook(self._db)
            self._claimer = Claimer(
                self._db,
                names,
                self._options.terms,
                worker_id=self._worker_id,
                queues=self._options.queues,
                job_types=self._options.job_types,
                clock=self._clock,
            )
            ear = Ear(self._options.direct_dsn, heard=self._heard, reconnected=self._bell.set, clock=self._clock)
            group = await self._stack.enter_async_context(asyncio.TaskGroup())
            task = spawn(group, ear.run(), ear.name)
            self._stack.callback(task.cancel)

    async def close(self) -> None:
        """Stop listening and let go of the connections."""
        await self._stack.aclose()

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        """Lease due jobs; after a fault of the database the rotation starts over."""
        assert self._claimer is not None
        try:
            found = await self._claimer.claim(jobs_max=jobs_max)
        except Unavailable:
            self._claimer.forget()
            raise
        self._is_held_back = not found and self._claimer.has_lanes
        self._is_starved = len(found) < jobs_max
        return found

    async def wait(self, *, timeout_s: float) -> None:
        """Return at a wake-up for one of this worker's lanes, at the latest after timeout_s."""
        assert self._claimer is not None
        if self._is_held_back:
            timeout_s = min(timeout_s, random.uniform(*HELD_BACK_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        self._bell.clear()

    def _heard(self, lanes: list[Lane] | None) -> None:
        assert self._claimer is not None
        learned = [self._claimer.learn(lane) for lane in lanes or ()]
        if lanes is None:
            self._claimer.forget()
        if lanes is None or any(learned):
            self._bell.set()

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        """Renew leases; now and then say that the worker itself lives."""
        assert self._db is not None
        await self._beat()
        return await leases.heartbeat(self._db, beats) if beats else []

    async def _beat(self) -> None:
        assert self._db is not None
        assert self._worker_id is not None
        now_s = self._clock.monotonic()
        if now_s - self._beaten_at >= WORKER_BEAT_S:
            self._beaten_at = now_s
            state = "running" if self.directive is Directive.RUN else "quiet"
            told = await workers.beat(self._db, self._worker_id, state=state)
            if told is None:
                self._worker_id = await self._register()
            self.directive = Directive.RUN if told is None else Directive(told)

    async def _register(self) -> int:
        assert self._db is not None
        options = self._options
        return await workers.register(
            self._db,
            name=options.worker_name,
            queues=options.queues,
            job_types=options.job_types,
            concurrency=options.concurrency,
            version=options.version,
        )

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Report how runs ended."""
        assert self._db is not None
        settled = await leases.settle(self._db, settlements)
        if self._is_held_back or self._is_starved:
            self._bell.set()  # a tenant at its limit has room again
        return settled


def factory(options: PostgresOptions, *, clock: Clock) -> tuple[Callable[[], PostgresBackend], Callable[[], PostgresBackend]]:
    """Make the two a worker needs: one that claims and settles, one that only beats."""
    return (lambda: PostgresBackend(options, clock=clock)), (lambda: PostgresBackend(options, clock=clock, is_claiming=False))
