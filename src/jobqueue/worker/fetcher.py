"""Claim jobs while there is room for them.

One claim is under way at a time, and the next one starts while the last one's jobs run. Leases are taken ahead of free slots only as
far as the last second's pace says that they will start within AHEAD_S, or while some claims last: a lease that waits here is one that
no other worker can run.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.lease import waits_by_queue
from jobqueue.telemetry.events import LeasesAcquired
from jobqueue.telemetry.sampled import is_sampled
from jobqueue.worker.backend import Backend
from jobqueue.worker.events import BackendFailed, Tell
from jobqueue.worker.executor import Executor
from jobqueue.worker.options import CLAIM_JOBS_MAX, UNSETTLED_JOBS_MAX, WorkerOptions, backoff_s
from jobqueue.worker.run import Book, Run

if TYPE_CHECKING:
    from jobqueue.telemetry.traces import Traces

AHEAD_S: Final = 0.040
"""Leased-ahead jobs are what will be consumed in this time: about four round trips of a claim. Half of it measured 7 % slower."""

AHEAD_JOBS_MAX: Final = 2 * CLAIM_JOBS_MAX
"""One claim's worth runs while the next one is fetched."""

CLAIMS_AHEAD: Final = 3
AHEAD_S_MAX: Final = 0.25
"""Where a claim takes long (a slow disk, a busy machine), leases are taken ahead for three of them instead, within this bound: else
few were claimed, so few ended, so the pace said to claim few."""

PACE_WINDOW_S: Final = 1.0
PACE_SAMPLE_S: Final = 0.02
SMOOTHING: Final = 0.2

IDLE_EMPTIES: Final = 4
IDLE_PATIENCE: Final = 1.5
"""After some looks in vain a worker looks a little less often; wake-ups reach it all the same."""

CLAIM_STOP_S_MAX: Final = 5.0
"""How long a stop waits for the claim under way; leases it brings after that run out by themselves."""


class Pace:
    """How many jobs ended per second, over the last second."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def restart(self, now: float, ended_total: int) -> None:
        """Forget the past: what follows a lull has a pace of its own."""
        self._samples = deque([(now, ended_total)])

    def read(self, now: float, ended_total: int) -> float:
        """Take a reading and say the pace in jobs per second."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - PACE_WINDOW_S:
            samples.popleft()
        since, ended_then = samples[0]
        if now - samples[-1][0] >= PACE_SAMPLE_S:
            samples.append((now, ended_total))
        return (ended_total - ended_then) / max(now - since, PACE_SAMPLE_S)


class Fetcher:
    """Keeps the executor supplied."""

    name = "fetcher"

    def __init__(
        self,
        *,
        backend: Backend,
        executor: Executor,
        book: Book,
        options: WorkerOptions,
        clock: Clock,
        tell: Tell,
        traces: Traces | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """traces None: this process has none. draw returns numbers in [0, 1)."""
        self._traces = traces
        self._backend = backend
        self._executor = executor
        self._book = book
        self._options = options
        self._clock = clock
        self._tell = tell
        self._draw = draw
        self._bell = asyncio.Event()
        self._pace = Pace(clock.monotonic())
        self._claim_s = 0.0  # how long claims take, smoothed
        self._empties = 0  # claims in a row that found nothing
        self._failures = 0
        self._is_quiet = False
        self._is_stopping = False

    def quiet(self, is_quiet: bool) -> None:
        """Claim nothing more, or again."""
        self._is_quiet = is_quiet
        self._bell.set()

    def ring(self) -> None:
        """There may be room again."""
        self._bell.set()

    async def run(self) -> None:
        """Claim until cancelled. A claim under way is waited for, and what it brings is handed on, so that no lease is left behind."""
        async with asyncio.TaskGroup() as group:
            while True:
                jobs_max = await self._until_room()
                await self._fetch(group, jobs_max)

    def room(self) -> int:
        """Say how many jobs to claim now: 0 when enough wait already."""
        executor = self._executor
        free = executor.slots_free
        ahead_s = min(max(AHEAD_S, CLAIMS_AHEAD * self._claim_s), AHEAD_S_MAX)
        ahead = min(int(self._pace.read(self._clock.monotonic(), executor.ended_total) * ahead_s), AHEAD_JOBS_MAX)
        waiting = executor.waiting
        executor.low_water = ahead // 2
        if waiting > ahead // 2:  # slots may be free for a moment while the executor lets others have their turn
            return 0
        if self._is_quiet:
            return 0
        held_max = self._options.concurrency + UNSETTLED_JOBS_MAX
        return max(0, min(free + ahead - waiting, CLAIM_JOBS_MAX, held_max - len(self._book)))

    async def _until_room(self) -> int:
        while not (jobs_max := self.room()):
            self._bell.clear()
            await self._bell.wait()
        self._executor.low_water = -1
        return jobs_max

    async def _fetch(self, group: asyncio.TaskGroup, jobs_max: int) -> None:
        """Claim while there is room; when there is nothing, wait for news."""
        claim = spawn(group, self._claim_on(jobs_max), "claim")
        try:
            count = await asyncio.shield(claim)
        except asyncio.CancelledError:
            self._is_stopping = True
            await asyncio.wait([claim], timeout=CLAIM_STOP_S_MAX)
            raise
        try:
            if count is None:
                await self._clock.sleep(backoff_s(self._failures, jitter=self._draw()))
            elif count == 0:
                self._empties += 1
                patience = IDLE_PATIENCE if self._empties > IDLE_EMPTIES else 1.0
                await self._backend.wait(timeout_s=self._options.poll_interval_s * patience * (0.75 + 0.5 * self._draw()))
                self._pace.restart(self._clock.monotonic(), self._executor.ended_total)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong out there is told, and the worker goes on
            self._failed("wait", error)
            await self._clock.sleep(backoff_s(self._failures, jitter=self._draw()))

    async def _claim_on(self, jobs_max: int) -> int | None:
        """Claim, and again at once while there is room: through the loop the next claim would leave some turns later, each full of jobs."""
        while (count := await self._claim(jobs_max)) and not self._is_stopping and (jobs_max := self.room()):
            pass
        return count

    async def _claim(self, jobs_max: int) -> int | None:
        """Claim and hand on what comes; say how many, None when it failed."""
        sent_at, asked_at = self._clock.boottime(), self._clock.monotonic()
        try:
            leases = await self._backend.claim(jobs_max=jobs_max)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed("claim", error)
            return None
        assert len(leases) <= jobs_max, f"{len(leases)} leases for a claim of {jobs_max}"
        self._failures = 0
        if leases:
            self._empties = 0
            self._claim_s += SMOOTHING * (self._clock.monotonic() - asked_at - self._claim_s)
            self._tell(LeasesAcquired(self._options.worker_id, len(leases), waits_by_queue(leases)))
            runs = [Run(lease, sent_at=lease.granted_at or sent_at) for lease in leases]
            if self._traces is not None:
                self._trace(self._traces, runs, sent_at)
            self._executor.accept(runs)
        return len(leases)

    def _trace(self, traces: Traces, runs: list[Run], sent_at: float) -> None:
        now = self._clock.boottime()
        for run in runs:
            lease = run.lease
            if is_sampled(lease.traceparent):
                run.trace = traces.acquired(lease, self._options.worker_id, took_s=now - (lease.granted_at or sent_at))

    def _failed(self, call: str, error: Exception) -> None:
        self._failures += 1
        self._tell(BackendFailed(call, error, self._failures))
