"""Report how runs ended, in batches.

A batch leaves at once while none is under way; else when it is full or its oldest row has waited AGE_S. At most two are under way.
A batch whose answer did not come is sent again as it is: the tokens make that safe, the answer is then `replayed`. Invariant: every
run handed in leaves the book here, settled, refused, or given up after its lease has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import InvalidRequest
from jobqueue.domain.lease import Settled, Settlement, SettleStatus
from jobqueue.domain.lifecycle import FINAL, Status
from jobqueue.telemetry.events import JobsCompleted, JobsRetried, StaleWritesRefused
from jobqueue.worker import outcomes
from jobqueue.worker.backend import Backend
from jobqueue.worker.events import BackendFailed, SettleGivenUp, Tell
from jobqueue.worker.options import SETTLE_JOBS_MAX, backoff_s
from jobqueue.worker.run import Book, Run

AGE_S: Final = 0.02
"""Beside a batch under way: a settle costs 0.8 ms of CPU by itself, so few large ones are cheaper. An idle worker waits for nothing."""
FLUSHES_MAX: Final = 2

GIVE_UP_LEASES: Final = 10
"""Give a batch up when its newest proof of ownership is this many lease lengths old.

A token may settle late, and after an outage the reaper waits a lease length before it takes anything, so it pays to outlast one:
every outcome kept is a job that does not run twice.
"""


class Acker:
    """Collects ended runs and settles them."""

    name = "acker"

    def __init__(
        self,
        *,
        backend: Backend,
        book: Book,
        clock: Clock,
        tell: Tell,
        on_settled: Callable[[], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """on_settled is called after each batch. draw returns numbers in [0, 1)."""
        self._backend = backend
        self._book = book
        self._clock = clock
        self._tell = tell
        self._on_settled = on_settled
        self._draw = draw
        self._pending: list[Run] = []
        self._oldest_at = 0.0
        self._in_flight = 0
        self._bell = asyncio.Event()
        self._news = asyncio.Event()
        self._failing_since: float | None = None  # on the loop's clock, as the next; None: the last settle came through
        self._hurried_at: float | None = None

    def add(self, run: Run) -> None:
        """Take a run whose outcome is set."""
        pending = self._pending
        if not pending:
            self._oldest_at = self._clock.monotonic()
            self._bell.set()
        pending.append(run)
        if len(pending) == SETTLE_JOBS_MAX:
            self._bell.set()

    async def run(self) -> None:
        """Flush until cancelled; call drain() first, since what is under way then is cut off."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._bell.wait()
                self._bell.clear()
                while (wait_s := self._flush_in_s()) == 0.0:
                    self._in_flight += 1
                    spawn(group, self._flush(self._take()), "settle")
                if wait_s is not None:
                    loop.call_later(wait_s, self._bell.set)

    def hurry(self) -> None:
        """Cut the grace of a drain short, now or later."""
        self._hurried_at = asyncio.get_running_loop().time()
        self._news.set()

    async def drain(self, *, grace_s: float, within_s: float, away_s: float) -> bool:
        """Wait until everything handed in is settled; False if it was not.

        After the grace, which hurry() cuts short, it gets within_s more, but no more than away_s while no try comes through.
        """
        begun_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as bound:
                while self._pending or self._in_flight:
                    grace_ends_at = begun_at + grace_s if self._hurried_at is None else max(begun_at, self._hurried_at)
                    ends_at = grace_ends_at + within_s
                    if self._failing_since is not None:
                        ends_at = min(ends_at, max(grace_ends_at, self._failing_since) + away_s)
                    bound.reschedule(ends_at)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _flush_in_s(self) -> float | None:
        """Say when the next batch leaves: 0 now, None when something else must happen first (a run ends, a flush comes back)."""
        if not self._pending or self._in_flight >= FLUSHES_MAX:
            return None
        if not self._in_flight or len(self._pending) >= SETTLE_JOBS_MAX:
            return 0.0
        return max(0.0, self._oldest_at + AGE_S - self._clock.monotonic())

    def _take(self) -> list[Run]:
        batch, self._pending = self._pending[:SETTLE_JOBS_MAX], self._pending[SETTLE_JOBS_MAX:]
        batch.sort(key=_job_id)  # everybody locks rows in this order
        return batch

    async def _flush(self, batch: list[Run]) -> None:
        try:
            await self._settle(batch)
        finally:
            self._in_flight -= 1
            self._bell.set()
            self._news.set()
            self._on_settled()

    async def _settle(self, batch: list[Run]) -> None:
        """Settle one batch, however long it takes; the rows that cannot be stored fail alone."""
        settlements = [_settlement(run) for run in batch]
        failures = 0
        begun_at = sent_at = self._clock.monotonic()
        while True:
            try:
                answers = await self._backend.settle(settlements)
            except InvalidRequest as error:
                await self._settle_apart(batch, error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it was, an outcome is not thrown away for it
                failures += 1
                self._fail()
                self._tell(BackendFailed("settle", error, failures))
                if self._has_surely_ended(batch):
                    self._give_up(batch)
                    return
                await self._clock.sleep(backoff_s(failures, jitter=self._draw()))
                sent_at = self._age(settlements, sent_at)
            else:
                self._failing_since = None
                self._settled(batch, answers)
                trace_settled(batch, answers, took_s=self._clock.monotonic() - begun_at)
                return

    def _fail(self) -> None:
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            self._news.set()

    def _age(self, settlements: list[Settlement], sent_at: float) -> float:
        """Let the starts stay where they were: the database counts them back from its own clock at the settle."""
        now = self._clock.monotonic()
        for settlement in settlements:
            if settlement.outcome.ran_s is not None:
                settlement.outcome.ran_s += now - sent_at
        return now

    async def _settle_apart(self, batch: list[Run], error: InvalidRequest) -> None:
        """Halve a batch that the database refuses, down to the row that it is refused for; that one fails."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        run = batch[0]
        assert run.outcome is not None
        if run.outcome.failure is not None and run.outcome.failure.type == "ResultRejected":  # not even that can be stored
            self._tell(BackendFailed("settle", error, 1))
            self._give_up(batch)
            return
        ran_s, run.outcome = run.outcome.ran_s, outcomes.rejected(f"the database refused the outcome: {error}")
        run.outcome.ran_s = ran_s
        await self._settle(batch)

    def _settled(self, batch: list[Run], answers: list[Settled]) -> None:
        assert len(answers) == len(batch), f"{len(answers)} answers for {len(batch)} settlements"
        self._book.drop_all(batch)
        durations_s: dict[tuple[str, str], list[float | None]] = {}
        refused = 0
        for run, answer in zip(batch, answers, strict=True):
            if answer.next_status is None or answer.status is SettleStatus.LEASE_LOST:
                refused += 1
                continue
            assert run.outcome is not None
            durations_s.setdefault((run.lease.tenant, answer.next_status), []).append(run.outcome.ran_s)
        for (tenant, status), ran_s in durations_s.items():
            self._tell_ended(tenant, status, ran_s)
        if refused:
            self._tell(StaleWritesRefused(refused))

    def _tell_ended(self, tenant: str, status: str, ran_s: list[float | None]) -> None:
        if status in FINAL:
            known_s = [seconds for seconds in ran_s if seconds is not None]
            self._tell(JobsCompleted(tenant, status, len(ran_s), known_s))
        elif status == Status.FAILED:
            self._tell(JobsRetried(tenant, len(ran_s)))

    def _has_surely_ended(self, batch: list[Run]) -> bool:
        now = self._clock.boottime()
        return all(now > run.fence_at + (GIVE_UP_LEASES - 1) * run.lease.lease_s for run in batch)

    def _give_up(self, batch: list[Run]) -> None:
        self._book.drop_all(batch)
        self._tell(SettleGivenUp(len(batch)))


def _job_id(run: Run) -> int:
    return run.lease.job_id.int


def _settlement(run: Run) -> Settlement:
    lease = run.lease
    assert run.outcome is not None
    return Settlement(lease.job_id, lease.token, lease.standing, run.outcome, lease.key_id, lease.tenant)


def trace_settled(batch: list[Run], answers: list[Settled], *, took_s: float) -> None:
    """Tell, of the sampled ones, how their report was answered."""
    for run, answer in zip(batch, answers, strict=True):
        if run.trace is not None:
            run.trace.settled(answer.status.value, answer.next_status, took_s=took_s)
