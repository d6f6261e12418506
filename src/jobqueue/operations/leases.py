"""Claim, heartbeat, settle, recover.

Two laws: the worker reports an Outcome and `domain.outcome.decide` alone says what follows; recovery is a settle by someone else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.job import PRIORITIES
from jobqueue.domain.lease import Beat, BeatStatus, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.outcome import Failure, Next, Outcome, OutcomeKind, Standing, decide
from jobqueue.domain.retry import RetryPolicy
from jobqueue.domain.rotation import Lane, Rotation
from jobqueue.operations.naming import NameBook
from jobqueue.store import leases as store
from jobqueue.store.pool import Database, Record, Transaction

HEARTBEAT_S_MAX: Final = 3.0
RECOVERED_MAX: Final = 500
"""Leases one recovery takes; more are taken by the next one, at once."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What a lease is granted under. timeout_s: of a job that names none. tenant_cap: the settings' limit of running jobs, 0 none."""

    lease_s: float
    timeout_s: int
    cancel_grace_s: float
    tenant_cap: int
    crashes_max: int
    retry_delay_s_base: float
    retry_delay_s_max: float

    def policy(self, *, attempts_max: int, delay_s_base: float | None) -> RetryPolicy:
        """The policy of one job: its own attempts, its queue's backoff where set."""
        base = self.retry_delay_s_base if delay_s_base is None else delay_s_base
        return RetryPolicy(attempts_max, self.crashes_max, base, self.retry_delay_s_max)


LaneTerms = tuple[str, str, str, str, float | None]
"""What the jobs of a lane share: tenant, queue, type, priority, and their queue's backoff."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who gets what is claimed: a worker's number, the claim's name, and how long its leases live without a heartbeat."""

    worker_id: int
    claim_id: UUID | None
    lease_s: float


class Claimer:
    """Claims for one worker, or for workers of one tenant that want the same; keeps the rotation between claims.

    Used by one task at a time.
    """

    def __init__(
        self,
        db: Database,
        names: NameBook,
        terms: LeaseTerms,
        *,
        worker_id: int | None,
        queues: Sequence[str] | None,
        job_types: Sequence[str],
        clock: Clock,
        tenant_id: int | None = None,
    ) -> None:
        """queues None: all of them. tenant_id None: of all tenants. worker_id None: each claim names its holder."""
        self._db = db
        self._names = names
        self._terms = terms
        self._holder = None if worker_id is None else Holder(worker_id, None, terms.lease_s)
        self._tenant_id = tenant_id
        self._queues = queues
        self._job_types = job_types
        self._clock = clock
        self._queue_ids: list[int] | None = None
        self._type_ids: list[int] | None = None
        self._rotation = Rotation()
        self._policies: dict[tuple[int, float | None], RetryPolicy] = {}

    def learn(self, lane: Lane) -> bool:
        """Remember a lane a wake-up named; False: it is none of this worker's."""
        is_own = (
            (self._tenant_id is None or lane[0] == self._tenant_id)
            and self._type_ids is not None
            and lane[2] in self._type_ids
            and (self._queues is None or (self._queue_ids is not None and lane[1] in self._queue_ids))
        )
        return is_own and self._rotation.learn(lane)

    @property
    def has_lanes(self) -> bool:
        """Whether lanes with due jobs are known."""
        return self._rotation.has_lanes

    @property
    def full(self) -> Collection[int]:
        """Tenants with due jobs that a limit holds back, as far as known; they are not asked for."""
        return self._rotation.full

    def free(self, tenant_id: int) -> bool:
        """Ask for a tenant again, whose job was settled; False: it was not at its limit."""
        return self._rotation.free(tenant_id)

    def forget(self) -> None:
        """Start over, after a reconnect."""
        self._rotation.forget()

    async def claim(self, *, jobs_max: int, holder: Holder | None = None) -> list[Lease]:
        """Lease up to jobs_max due jobs; empty when there are none, or when other claimers serve their tenants just now."""
        holder = holder or self._holder
        assert holder is not None
        await self.number()
        started_s = self._clock.monotonic()
        if not self._rotation.has_lanes or self._rotation.wants_discovery(started_s):
            await self._discover(started_s)
        if not self._rotation.has_lanes:
            return []
        turn = self._rotation.turn(jobs_max, now_s=started_s)
        rows = await store.claim(
            self._db,
            turn,
            worker_id=holder.worker_id,
            claim_id=holder.claim_id,
            lease_s=holder.lease_s,
            timeout_s=self._terms.timeout_s,
            grace_s=self._terms.cancel_grace_s + self._terms.lease_s,
            tenant_cap=self._terms.tenant_cap,
        )
        lanes, full = _take_news(rows)
        assert len(rows) <= sum(turn.takes), "a claim brought more than was asked for"
        self._rotation.claimed(turn, [(lane, row[17], row[18], row[19]) for lane, row in lanes.items()], full)
        await self._names.learn_lanes(lanes)
        terms = {lane: self._lane_terms(lane, row[20]) for lane, row in lanes.items()}
        return [self._lease(row, terms[row[2], row[3], row[4], row[5]], holder.lease_s) for row in rows]

    async def number(self) -> None:
        """Look up what the names are in rows; before that no wake-up is known as this claimer's."""
        if self._type_ids is None:
            numbers = await self._names.type_ids(self._job_types)
            self._type_ids = [numbers[name] for name in self._job_types]
        if self._queue_ids is None and self._queues is not None:
            queue_numbers = await self._names.queue_ids(self._queues)
            self._queue_ids = [queue_numbers[name] for name in self._queues]

    async def _discover(self, started_s: float) -> None:
        assert self._type_ids is not None
        lanes = await store.lanes(self._db, tenant_id=self._tenant_id, queues=self._queue_ids, types=self._type_ids)
        now_s = self._clock.monotonic()
        self._rotation.discovered(lanes, now_s=now_s, took_s=now_s - started_s)

    def _lane_terms(self, lane: Lane, retry_base_s: float | None) -> LaneTerms:
        """What the jobs of a lane share."""
        tenant_id, queue_id, type_id, band = lane
        names = self._names
        return names.tenant(tenant_id), names.queue(queue_id), names.job_type(type_id), PRIORITIES[band & 3], retry_base_s

    def _lease(self, row: Record, terms: LaneTerms, lease_s: float) -> Lease:
        """Make a lease of a row; made once a job, hence by position (columns as in sql/leases/claim.sql)."""
        tenant, queue, job_type, priority, retry_base_s = terms
        policy_key = (row[7], retry_base_s)
        policy = self._policies.get(policy_key)
        if policy is None:
            policy = self._policies[policy_key] = self._terms.policy(attempts_max=row[7], delay_s_base=retry_base_s)
        timeout_s = row[10]
        return Lease(
            row[0],  # job
            row[1],  # token
            tenant,
            queue,
            job_type,
            priority,
            Standing(row[6], row[8], policy),
            row[16],  # data
            lease_s,
            self._terms.timeout_s if timeout_s is None else timeout_s,
            row[9],  # key
            row[11] or [],  # tags
            row[12],  # metadata
            row[13],  # idempotency key
            row[14],  # correlation id
            row[15],  # traceparent
            None,
            row[20],  # waited
        )


def _take_news(rows: list[Record]) -> tuple[dict[Lane, Record], list[tuple[int, int | None]]]:
    """Take what comes after the jobs off a claim's answer: the lanes that gave some, and who is at a limit or busy."""
    lanes: dict[Lane, Record] = {}
    full: list[tuple[int, int | None]] = []
    while rows and rows[-1][0] is None:
        row = rows.pop()
        if row[5] is None:
            full.append((row[2], row[3]))
        else:
            lanes[row[2], row[3], row[4], row[5]] = row
    return lanes, full


async def heartbeat(db: Database, beats: Sequence[Beat]) -> list[BeatStatus]:
    """Renew leases and tell starts and progress; answers in order."""
    found = await store.heartbeat(db, beats, tenant_id=None, deadline_s=HEARTBEAT_S_MAX)
    return [found[beat.token][0] for beat in beats]


async def settle(db: Database, settlements: Sequence[Settlement], *, wake: Callable[[Lane], None] | None = None) -> list[Settled]:
    """Settle a batch as its holder, in one transaction; answers in order, a lost lease is an answer.

    wake is told the lanes that got due jobs by it: given back, or let in because their concurrency key has room again.
    """
    nexts = [decide(settlement.standing, settlement.outcome, jitter=random.random()) for settlement in settlements]
    exceptions, due = await store.settle(db, settlements, nexts, is_reaper=False)
    if wake is not None:
        for lane in due:
            wake(lane)
    return [_settled(settlement, following, exceptions) for settlement, following in zip(settlements, nexts, strict=True)]


def _settled(settlement: Settlement, following: Next, exceptions: dict[UUID, tuple[str, str | None]]) -> Settled:
    exception = exceptions.get(settlement.token)
    if exception is None:
        return Settled(settlement.job_id, SettleStatus.SETTLED, following.status.value)
    status = SettleStatus(exception[0])
    return Settled(settlement.job_id, status, None if status is SettleStatus.LEASE_LOST else exception[1])


@dataclass(frozen=True, slots=True)
class Recovered:
    """A lease the reaper took back. status: what the job became; is_overdue: its holder was alive but past the job's deadline."""

    job_id: UUID
    tenant: str
    attempt: int
    worker: str
    status: str
    is_overdue: bool


async def recover(
    db: Database,
    terms: LeaseTerms,
    *,
    resumed_for_s: float,
    limit: int = RECOVERED_MAX,
    now: datetime | None = None,
    wake: Callable[[Lane], None] | None = None,
) -> list[Recovered]:
    """Take back leases whose time is over: lock, decide, settle, in one transaction.

    resumed_for_s: since the reaper, its connection and the server last came up; leases longer than that are let be. wake is told the lanes
    that got due jobs by it, after the commit. now: tests only.
    """
    woken: list[Lane] = []

    async def work(transaction: Transaction) -> list[Recovered]:
        rows = await store.lost(transaction, limit=limit, resumed_for_s=resumed_for_s, now=now)
        if not rows:
            return []
        settlements = [_lost_settlement(row, terms) for row in rows]
        nexts = [decide(settlement.standing, settlement.outcome, jitter=0.0) for settlement in settlements]
        exceptions, woken[:] = await store.settle(transaction, settlements, nexts, is_reaper=True)
        return [
            Recovered(
                row["job_id"],
                row["tenant"],
                row["attempt"],
                row["worker"] or "unknown",
                exceptions.get(row["token"], ("", following.status.value))[1] or following.status.value,
                row["is_overdue"],
            )
            for row, following in zip(rows, nexts, strict=True)
        ]

    recovered = await db.in_transaction(work)
    if wake is not None:
        for lane in woken:
            wake(lane)
    return recovered


def _lost_settlement(row: Record, terms: LeaseTerms) -> Settlement:
    what = "ran past its deadline" if row["is_overdue"] else "stopped renewing its lease"
    return Settlement(
        job_id=row["job_id"],
        token=row["token"],
        standing=Standing(row["attempt"], row["crashes"], terms.policy(attempts_max=row["attempts_max"], delay_s_base=None)),
        outcome=Outcome(
            OutcomeKind.LEASE_EXPIRED,
            failure=Failure("LeaseExpired", f"the worker {what}"),
            ran_s=row["ran_s"],
        ),
        key_id=row["key_id"],
    )
