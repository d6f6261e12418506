"""Make load, and keep what came of it. When each request is due is decided beforehand, so that a slow service does not lighten its load.

A request refused for the tenant's rate is counted and made again after what Retry-After says, under the same keys.
"""

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from jobqueue.aio.clock import Clock, SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import LimitReached, Unavailable

if TYPE_CHECKING:
    from jobqueue.client.async_client import AsyncClient
    from jobqueue.client.new_job import NewJob

SPIKES: Final = 10
LOOK_S: Final = 0.5
REFRESH_S: Final = 0.2
JOBS_TIMED_MAX: Final = 20_000
"""Jobs whose times are read back, the newest: 100 pages."""

AGAIN_S: Final = 0.5
FINAL: Final = frozenset({"succeeded", "cancelled", "expired", "dlq"})


class Shape(StrEnum):
    """How jobs come over time."""

    BURST = "burst"
    STEADY = "steady"
    RAMP = "ramp"
    SPIKES = "spikes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to do; rate is jobs a second. is_waiting: until all have ended."""

    jobs: int
    shape: Shape
    rate: float
    clients: int
    batch: int
    job_type: str
    data_bytes: int
    queue: str
    is_waiting: bool
    seconds_max: float


def due_s(load: Load) -> Iterator[tuple[float, int]]:
    """Say for each request when it is due, in seconds from the start, and how many jobs it carries."""
    whole_s = load.jobs / load.rate
    for first in range(0, load.jobs, load.batch):
        share = first / load.jobs
        yield _share_of_time(load.shape, share) * whole_s, min(load.batch, load.jobs - first)


def _share_of_time(shape: Shape, share_of_jobs: float) -> float:
    """Say how much of the time is over when that share of the jobs has come."""
    match shape:
        case Shape.STEADY:
            return share_of_jobs
        case Shape.RAMP:  # the rate grows with time, so what has come grows with its square
            return math.sqrt(share_of_jobs)
        case Shape.SPIKES:
            return math.floor(share_of_jobs * SPIKES) / SPIKES
        case _:
            return 0.0


@dataclass(slots=True)
class Run:
    """One run: what was sent, what was said, what became of the jobs. Durations are seconds."""

    load: Load
    clock: Clock = field(default_factory=SystemClock)
    tag: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")
    submitted: int = 0
    ended: int = 0
    requests: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    submit_seconds: float = 0.0
    total_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)
    why_incomplete: str = ""
    _began_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock.monotonic() - self._began_s

    async def go(self, client: "AsyncClient", *, refresh: Callable[[], None]) -> None:
        """Submit, wait, read back. Raises JobQueueError for what is no refusal of the moment."""
        self._began_s = self.clock.monotonic()
        try:
            async with asyncio.timeout(self.load.seconds_max), asyncio.TaskGroup() as group:
                drawing = spawn(group, self._refresh(refresh), "refresh")
                await self._submit_all(client)
                self.submit_seconds = self.seconds
                if self.load.is_waiting:
                    await self._until_ended(client)
                self.total_seconds = self.seconds
                drawing.cancel()
        except TimeoutError:
            self.total_seconds = self.seconds
            self.submit_seconds = self.submit_seconds or self.total_seconds
            done = f"{self.submitted:,} of {self.load.jobs:,} jobs submitted, {self.ended:,} ended"
            self.why_incomplete = f"given up after {self.load.seconds_max:g} s: {done}; is there a worker for {self.load.job_type!r}?"
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        if self.load.is_waiting:
            await self._read_times(client)
        refresh()

    async def _refresh(self, refresh: Callable[[], None]) -> None:
        while True:
            refresh()
            await self.clock.sleep(REFRESH_S)

    async def _submit_all(self, client: "AsyncClient") -> None:
        due = due_s(self.load)
        async with asyncio.TaskGroup() as group:
            for number in range(self.load.clients):
                spawn(group, self._submit(client, due), f"client-{number}")

    async def _submit(self, client: "AsyncClient", due: Iterator[tuple[float, int]]) -> None:
        for at_s, count in due:
            if (wait_s := at_s - self.seconds) > 0:
                await self.clock.sleep(wait_s)
            if self.load.shape is not Shape.BURST:  # whose requests are all due at once
                self.lateness.append(max(0.0, self.seconds - at_s))
            await self._send(client, [self._job() for _ in range(count)])
            self.submitted += count

    async def _send(self, client: "AsyncClient", jobs: list["NewJob"]) -> None:
        """Send one request until it is taken."""
        while True:
            sent_s = self.seconds
            try:
                if self.load.batch == 1:
                    await client.submit(**asdict(jobs[0]))
                else:
                    await client.submit_many(jobs)
            except (LimitReached, Unavailable) as error:
                self.refused[error.code] += 1
                await self.clock.sleep(float(getattr(error, "retry_after_s", AGAIN_S)))
            else:
                self.requests.append(self.seconds - sent_s)
                return

    def _job(self) -> "NewJob":
        from jobqueue.client.new_job import NewJob, make_key

        data = {"message": "x" * self.load.data_bytes}
        return NewJob(job_type=self.load.job_type, data=data, idempotency_key=make_key(), queue=self.load.queue, tags=[self.tag])

    async def _until_ended(self, client: "AsyncClient") -> None:
        """Look at the queue until nothing of it waits or runs."""
        while True:
            try:
                figures = (await client.queue_stats(self.load.queue)).queues[self.load.queue]
                left = figures.ready + figures.running + figures.scheduled + figures.failed
                self.ended = max(self.ended, self.submitted - left)
                if left == 0:
                    self.ended = self.submitted
                    return
            except (LimitReached, Unavailable) as error:
                self.refused[error.code] += 1
            await self.clock.sleep(LOOK_S)

    async def _read_times(self, client: "AsyncClient") -> None:
        """Read back how long the jobs waited and ran, by the database's clock."""
        since = datetime.fromtimestamp(datetime.now(UTC).timestamp() - self.total_seconds - 60, UTC)
        try:
            async for job in client.iterate(tag=self.tag, created_after=since):
                self.by_status[job.status] += 1
                if job.started_at is not None:
                    self.waits.append((job.started_at - job.created_at).total_seconds())
                if job.started_at is not None and job.finished_at is not None:
                    self.runs.append((job.finished_at - job.started_at).total_seconds())
                    self.totals.append((job.finished_at - job.created_at).total_seconds())
                if self.by_status.total() >= JOBS_TIMED_MAX:
                    return
        except LimitReached as error:
            self.refused[error.code] += 1  # what was read so far stands

    def figures(self) -> dict[str, Any]:
        """Give everything as plain data."""
        return {
            "load": asdict(self.load),
            "submitted": self.submitted,
            "submit_seconds": round(self.submit_seconds, 3),
            "submitted_per_second": per_second(self.submitted, self.submit_seconds),
            "total_seconds": round(self.total_seconds, 3),
            "ended_per_second": per_second(self.ended, self.total_seconds) if self.load.is_waiting else None,
            "refused": dict(self.refused),
            "by_status": dict(self.by_status),
            "seconds": {
                name: quantiles(values)
                for name, values in (
                    ("request", self.requests),
                    ("late", self.lateness),
                    ("wait", self.waits),
                    ("run", self.runs),
                    ("total", self.totals),
                )
            },
            "is_complete": not self.why_incomplete,
        }


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def per_second(count: int, seconds: float) -> float:
    """Say how many a second."""
    return round(count / seconds, 1) if seconds > 0 else 0.0


def quantiles(values: list[float]) -> dict[str, float] | None:
    """Say the median, the tails and the end of some durations; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 6)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }
