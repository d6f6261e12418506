"""A Backend in memory, with the engine's meaning and none of its scale: claim in order of submission, tokens, decide() for what follows.

`FakeEngine` is the database: shared by the backends of the worker's two threads, hence the lock. `FakeBackend` is one connection to it.
Tests steer the engine (`submit`, `end_lease`, `ask_to_cancel`), put faults in the way (`fail`) and look at `job(id)`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import orjson

from jobqueue.domain.errors import InvalidRequest
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import Outcome, OutcomeKind, Standing, decide
from jobqueue.domain.retry import RetryPolicy
from jobqueue.worker.options import CLAIM_JOBS_MAX, SETTLE_JOBS_MAX

CREATED_MS = 1_735_689_600_000
"""2025-01-01, in the first 48 bits of every id, as in a UUIDv7."""

Hook = Callable[[], Awaitable[None]]


@dataclass
class FakeJob:
    """One job, wherever it is."""

    id: UUID
    job_type: str
    data_json: str
    policy: RetryPolicy
    timeout_s: float
    lease_s: float
    status: str = Status.QUEUED
    attempt: int = 0
    crashes: int = 0
    token: UUID | None = None
    is_started: bool = False
    is_cancel_requested: bool = False
    percent: float | None = None
    message: str | None = None
    beats: list[Beat] = field(default_factory=list)
    outcomes: dict[UUID, Outcome] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """How the last run ended."""
        return list(self.outcomes.values())[-1]

    @property
    def result(self) -> Any:
        """What the last run returned."""
        text = self.outcome.result_json
        return None if text is None else orjson.loads(text)


class FakeEngine:
    """The jobs and the rules that move them."""

    def __init__(self, *, lease_s: float = 30.0) -> None:
        self.lease_s = lease_s
        self.directive = Directive.RUN
        self.beat_count = 0
        self.settle_sizes: list[int] = []
        self.claim_sizes: list[int] = []
        self._lock = threading.RLock()
        self._jobs: dict[UUID, FakeJob] = {}
        self._job_types: frozenset[str] | None = None
        self._ready: deque[FakeJob] = deque()
        self._bells: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._faults: dict[str, deque[Exception]] = {}
        self._hooks: dict[str, Hook] = {}
        self._watchers: list[tuple[Callable[[], bool], asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def limit_to(self, *job_types: str) -> None:
        """Have claims take these types only; without this they take all."""
        self._job_types = frozenset(job_types)

    def submit(
        self, job_type: str, data: dict[str, Any] | None = None, *, max_attempts: int = 3, timeout_s: float = 60.0, crashes: int = 0
    ) -> UUID:
        """Store a job and wake the workers."""
        policy = RetryPolicy(attempts_max=max_attempts, crashes_max=3, delay_s_base=5.0, delay_s_max=3600.0)
        job = FakeJob(
            UUID(int=CREATED_MS << 80 | uuid4().int >> 48),
            job_type,
            orjson.dumps(data or {}).decode(),
            policy,
            timeout_s,
            self.lease_s,
            crashes=crashes,
        )
        with self._lock:
            self._jobs[job.id] = job
            self._ready.append(job)
        self._ring()
        return job.id

    def job(self, job_id: UUID) -> FakeJob:
        """Look at a job."""
        return self._jobs[job_id]

    def jobs(self) -> list[FakeJob]:
        """Look at all jobs."""
        return list(self._jobs.values())

    def end_lease(self, job_id: UUID) -> None:
        """Let a job's lease run out and recover it, as the reaper would."""
        with self._lock:
            job = self._jobs[job_id]
            assert job.token is not None, "the job is not leased"
            lost = Outcome(OutcomeKind.LEASE_EXPIRED, ran_s=0.0 if job.is_started else None)
            self._settle_job(job, lost, Standing(job.attempt, job.crashes, job.policy))
        self._ring()

    def ask_to_cancel(self, job_id: UUID) -> None:
        """Ask for the cancellation of a job that a worker holds."""
        with self._lock:
            self._jobs[job_id].is_cancel_requested = True

    def requeue(self, job_id: UUID) -> None:
        """Let a waiting job's delay pass."""
        with self._lock:
            job = self._jobs[job_id]
            assert job.status in (Status.FAILED, Status.SCHEDULED)
            job.status = Status.QUEUED
            self._ready.append(job)
        self._ring()

    def fail(self, call: str, *errors: Exception) -> None:
        """Have the next calls of that name raise these, one each."""
        with self._lock:
            self._faults.setdefault(call, deque()).extend(errors)

    def before(self, call: str, hook: Hook | None) -> None:
        """Have every call of that name await the hook first; None takes it away."""
        if hook is None:
            self._hooks.pop(call, None)
        else:
            self._hooks[call] = hook

    async def until(self, is_so: Callable[[], bool], *, within_s: float = 10.0) -> None:
        """Wait until something is so, looked at after every call of a backend."""
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._watchers.append((is_so, loop, seen))
        self._look()
        async with asyncio.timeout(within_s):
            await seen

    async def until_status(self, job_id: UUID, *statuses: str) -> FakeJob:
        """Wait until a job has one of these statuses."""
        await self.until(lambda: self._jobs[job_id].status in statuses)
        return self._jobs[job_id]

    # ------------------------------------------------------------------------------------- for FakeBackend

    async def enter(self, call: str) -> None:
        hook = self._hooks.get(call)
        if hook is not None:
            await hook()
        with self._lock:
            faults = self._faults.get(call)
            if faults:
                raise faults.popleft()

    def take(self, jobs_max: int) -> list[Lease]:
        with self._lock:
            due, rest = [], []
            while self._ready and len(due) < jobs_max:
                job = self._ready.popleft()
                (due if self._job_types is None or job.job_type in self._job_types else rest).append(job)
            self._ready.extendleft(reversed(rest))
            leases = [self._lease(job) for job in due]
            self.claim_sizes.append(len(leases))
        self._look()
        return leases

    def beat(self, beat: Beat) -> BeatStatus:
        with self._lock:
            job = self._jobs.get(beat.job_id)
            if job is None or job.token != beat.token:
                return BeatStatus.LOST
            job.beats.append(beat)
            if beat.started_ago_s is not None:
                job.is_started = True
                job.status = Status.RUNNING
            if beat.progress is not None:
                job.percent, job.message = beat.progress, beat.message
            return BeatStatus.CANCEL_REQUESTED if job.is_cancel_requested else BeatStatus.OK

    def settle(self, settlement: Settlement) -> Settled:
        with self._lock:
            job = self._jobs[settlement.job_id]
            if settlement.token in job.outcomes:
                return Settled(job.id, SettleStatus.REPLAYED, job.status)
            if job.token != settlement.token:
                return Settled(job.id, SettleStatus.LEASE_LOST, None)
            job.outcomes[settlement.token] = settlement.outcome
            self._settle_job(job, settlement.outcome, settlement.standing)
            return Settled(job.id, SettleStatus.SETTLED, job.status)

    def news(self) -> asyncio.Event:
        bell = asyncio.Event()
        with self._lock:
            if self._ready:
                bell.set()
            self._bells.append((asyncio.get_running_loop(), bell))
        return bell

    def _lease(self, job: FakeJob) -> Lease:
        job.attempt += 1
        job.token = uuid4()
        job.is_started = False
        job.status = Status.LEASED
        job.history.append("leased")
        return Lease(
            job_id=job.id,
            token=job.token,
            tenant="demo",
            queue="default",
            job_type=job.job_type,
            priority="normal",
            standing=Standing(job.attempt, job.crashes, job.policy),
            data_json=job.data_json,
            lease_s=job.lease_s,
            timeout_s=job.timeout_s,
            key_id=None,
            tags=[],
            metadata_json=None,
            idempotency_key=None,
            correlation_id=None,
            traceparent=None,
        )

    def _settle_job(self, job: FakeJob, outcome: Outcome, standing: Standing) -> None:
        after = decide(standing, outcome, jitter=0.5)
        is_stopped = job.is_cancel_requested and after.status is not Status.SUCCEEDED
        job.status = Status.CANCELLED if is_stopped else after.status
        job.attempt, job.crashes, job.token = after.attempt, after.crashes, None
        job.history.append(outcome.kind)
        if job.status == Status.QUEUED:
            self._ready.append(job)

    def _ring(self) -> None:
        with self._lock:
            bells, self._bells = self._bells, []
        for loop, bell in bells:
            loop.call_soon_threadsafe(bell.set)

    def _look(self) -> None:
        with self._lock:
            seen = [watcher for watcher in self._watchers if watcher[0]()]
            self._watchers = [watcher for watcher in self._watchers if watcher not in seen]
        for _, loop, future in seen:
            loop.call_soon_threadsafe(_resolve, future)

    looked_at = _look


class FakeBackend:
    """One connection to the engine."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.is_open = False
        self.directive = Directive.RUN

    async def open(self) -> None:
        await self._engine.enter("open")
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        assert self.is_open
        assert 1 <= jobs_max <= CLAIM_JOBS_MAX
        await self._engine.enter("claim")
        return self._engine.take(jobs_max)

    async def wait(self, *, timeout_s: float) -> None:
        await self._engine.enter("wait")
        try:
            async with asyncio.timeout(timeout_s):
                await self._engine.news().wait()
        except TimeoutError:
            pass

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        assert self.is_open
        await self._engine.enter("heartbeat")
        self.directive = self._engine.directive
        self._engine.beat_count += 1
        statuses = [self._engine.beat(beat) for beat in beats]
        self._engine.looked_at()
        return statuses

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        assert self.is_open
        assert 1 <= len(settlements) <= SETTLE_JOBS_MAX
        assert [s.job_id.int for s in settlements] == sorted(s.job_id.int for s in settlements), "everybody locks in this order"
        await self._engine.enter("settle")
        for settlement in settlements:
            _check(settlement.outcome)
        self._engine.settle_sizes.append(len(settlements))
        answers = [self._engine.settle(settlement) for settlement in settlements]
        await self._engine.enter("settled")  # a fault here: it happened, but the answer does not come
        self._engine.looked_at()
        return cast(list[Settled], answers)


def _check(outcome: Outcome) -> None:
    try:
        orjson.loads(outcome.result_json or "null")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the result is not JSON") from error


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
