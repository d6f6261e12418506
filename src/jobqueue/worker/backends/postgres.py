"""A worker's way to its jobs through Postgres itself: fast, for workers in the cluster. It serves all tenants."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import JobQueueError, Unavailable
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement
from jobqueue.domain.rotation import Lane
from jobqueue.domain.wakeup import Note
from jobqueue.operations import leases, workers
from jobqueue.operations.database import Database, open_database
from jobqueue.operations.leases import Claimer, LeaseTerms
from jobqueue.operations.naming import NameBook
from jobqueue.operations.vacancies import Vacancies
from jobqueue.operations.wakeups import Ear, Waker

CONNECTIONS: Final = 4
"""One claims, two settle, one tells others of lanes and free slots."""
CLOSE_S_MAX: Final = 1.0
"""How long a stop waits to tell others of the jobs it gave back; unless told they find them within a second or so."""
WORKER_BEAT_S: Final = 5.0
"""A worker is seen as gone after three of these."""
HELD_BACK_S: Final = (0.005, 0.02)
"""How soon to look again when lanes are known but a claim came up empty: another claimer may hold the tenants' gates."""


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """Where the database is and what this worker takes. direct_dsn bypasses a pooler; queues None: all of them.

    watch is given the pool that claims and settles.
    """

    dsn: str
    direct_dsn: str
    worker_name: str
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...]
    concurrency: int
    version: str
    terms: LeaseTerms
    watch: Callable[[Database], None] | None = None


class PostgresBackend:
    """Claims, beats and settles on a pool of its own. `is_claiming` False: it only beats, for the heartbeater's thread."""

    def __init__(self, options: PostgresOptions, *, clock: Clock, is_claiming: bool = True) -> None:
        self._options = options
        self._clock = clock
        self._is_claiming = is_claiming
        self._bell = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self._db: Database | None = None
        self._names: NameBook | None = None
        self._claimer: Claimer | None = None
        self._waker: Waker | None = None
        self._vacancies: Vacancies | None = None
        self._offered: set[int] = set()
        self._settled_meanwhile: list[Sequence[Settlement]] | None = None
        self._freed_meanwhile: set[int] = set()
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
            if self._options.watch is not None:
                self._options.watch(self._db)
            self._names = names = NameBook(self._db)
            self._waker = Waker(self._db, clock=self._clock)
            self._vacancies = Vacancies(self._waker, sender=random.getrandbits(31), clock=self._clock)
            self._claimer = Claimer(
                self._db,
                names,
                self._options.terms,
                worker_id=self._worker_id,
                queues=self._options.queues,
                job_types=self._options.job_types,
                clock=self._clock,
            )
            ear = Ear(self._options.direct_dsn, heard=self._heard, noted=self._noted, reconnected=self._bell.set, clock=self._clock)
            group = await self._stack.enter_async_context(asyncio.TaskGroup())
            for service in (ear, self._waker):
                self._stack.callback(spawn(group, service.run(), service.name).cancel)

    async def close(self) -> None:
        """Tell the others of what was given back last, stop listening and let go of the connections."""
        if self._waker is not None:
            with contextlib.suppress(JobQueueError, TimeoutError):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._waker.flush()
        await self._stack.aclose()

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        """Lease due jobs; after a fault of the database the rotation starts over."""
        assert self._claimer is not None
        settled: list[Sequence[Settlement]] = []
        self._settled_meanwhile, self._freed_meanwhile = settled, set()
        try:
            found = await self._claimer.claim(jobs_max=jobs_max)
        except Unavailable:
            self._claimer.forget()
            raise
        finally:
            self._settled_meanwhile = None
        self._free_meanwhile(settled)
        self._is_held_back = not found and self._claimer.has_lanes
        self._is_starved = len(found) < jobs_max
        self._tell_of_slots()
        return found

    def _tell_of_slots(self) -> None:
        """After a claim: say whose slots would be taken, and offer those this process freed and did not take itself."""
        assert self._claimer is not None
        assert self._vacancies is not None
        if self._is_starved and self._claimer.full:
            self._vacancies.want(self._claimer.full)
        if self._offered:
            for tenant in self._offered.difference(self._claimer.full):
                self._vacancies.offer(tenant)
            self._offered.clear()

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

    def _free_meanwhile(self, settled: Sequence[Sequence[Settlement]]) -> None:
        """What a claim says of limits may be older than slots that were freed while it was under way."""
        assert self._claimer is not None
        if self._claimer.full:
            freed = {*self._freed_meanwhile, *self._known_of(self._claimer.full, *settled)}
            for tenant in freed.intersection(self._claimer.full):
                self._claimer.free(tenant)
                self._bell.set()

    def _known_of(self, tenants: Collection[int], *batches: Sequence[Settlement]) -> list[int]:
        """Say which of the tenants these settlements are of."""
        assert self._names is not None
        named = {settlement.tenant for batch in batches for settlement in batch}
        return [tenant for tenant in tenants if self._names.known_tenant(tenant) in named]

    def _noted(self, note: Note) -> None:
        assert self._claimer is not None
        assert self._vacancies is not None
        tenant = self._vacancies.heard(note)
        if tenant is not None:
            self._freed_meanwhile.add(tenant)
            if self._claimer.free(tenant):
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
        assert self._claimer is not None
        assert self._vacancies is not None
        assert self._waker is not None
        settled = await leases.settle(self._db, settlements, wake=self._waker.wake)
        if self._settled_meanwhile is not None:
            self._settled_meanwhile.append(settlements)
        if self._claimer.full or self._vacancies.hungry:
            self._free_slots(settlements)
        return settled

    def _free_slots(self, settlements: Sequence[Settlement]) -> None:
        """Somebody waits for slots of tenants at their limit: this process takes those it freed, if it can, else the others are told."""
        assert self._claimer is not None
        assert self._vacancies is not None
        for tenant in self._known_of({*self._claimer.full, *self._vacancies.hungry}, settlements):
            if self._claimer.free(tenant) and self._is_starved:
                self._offered.add(tenant)
                self._bell.set()
            else:
                self._vacancies.offer(tenant)


def factory(options: PostgresOptions, *, clock: Clock) -> tuple[Callable[[], PostgresBackend], Callable[[], PostgresBackend]]:
    """Make the two a worker needs: one that claims and settles, one that only beats."""
    return (lambda: PostgresBackend(options, clock=clock)), (lambda: PostgresBackend(options, clock=clock, is_claiming=False))
