"""Leases in the hands of workers of one tenant, who know a job and a token and nothing else: read, renewed, settled.

What fixes a lease's fate (its attempt, its policy) is read from its row, decided in `domain.outcome`, and settled by the token: the same
path as a database worker's, one look longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import NotFound
from jobqueue.domain.job import JobView
from jobqueue.domain.lease import Beat, BeatStatus, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import Outcome, OutcomeKind, Standing
from jobqueue.domain.rotation import Lane
from jobqueue.operations import leases
from jobqueue.operations.jobs import WORKER_ALIVE_S, Caller
from jobqueue.operations.leases import HEARTBEAT_S_MAX, LeaseTerms
from jobqueue.store import jobs as jobs_store
from jobqueue.store import leases as store
from jobqueue.store.pool import Database, Record

LEASE_S_MIN, LEASE_S_MAX = 5.0, 3600.0
CLAIM_JOBS_MAX: Final = 500
"""What one claim brings, for all the polls it is made for together."""
BEATS_MAX: Final = 500
"""Leases one statement renews."""
BUSY_TRIES: Final = 3
BUSY_S: Final = 0.02
"""A lease another transition holds just now is renewed a moment later."""
REPORTED_AS: Final = {
    OutcomeKind.SUCCEEDED: Status.SUCCEEDED,
    OutcomeKind.FAILED: Status.FAILED,
    OutcomeKind.SNOOZED: Status.SCHEDULED,
    OutcomeKind.RELEASED: Status.QUEUED,
    OutcomeKind.CANCELLED: Status.CANCELLED,
}
"""Where an outcome leads unless something followed at once: what a replay is answered with."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as its holder is told of it. left_s: until it runs out, on the database's clock as it was read."""

    job: JobView
    token: UUID
    attempt: int
    crashes: int
    lease_s: float
    left_s: float
    timeout_s: float
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """How a run ended, as its holder reports it."""

    job_id: UUID
    token: UUID
    outcome: Outcome


def clamp_lease_s(asked_s: float | None, terms: LeaseTerms) -> float:
    """Bound how long a lease lives without a heartbeat; None: as the settings have it."""
    return min(max(terms.lease_s if asked_s is None else asked_s, LEASE_S_MIN), LEASE_S_MAX)


async def held(db: Database, caller: Caller, terms: LeaseTerms, *, worker_id: int, claim_id: UUID) -> list[Grant]:
    """List what a worker still holds of an earlier claim, whose answer it may not have got."""
    rows = await store.held(db, caller.tenant_id, worker_id=worker_id, claim_id=claim_id, limit=CLAIM_JOBS_MAX)
    if not rows:
        return []
    views = await _views(db, caller, terms, [row["job_id"] for row in rows])
    return [
        Grant(
            views[row["job_id"]],
            row["token"],
            row["attempt"],
            row["crashes"],
            row["lease_s"],
            row["left_s"],
            row["timeout_s"] or terms.timeout_s,
            row["traceparent"],
        )
        for row in rows
        if row["job_id"] in views
    ]


async def show(db: Database, caller: Caller, terms: LeaseTerms, claimed: Sequence[Lease]) -> list[Grant]:
    """Read the jobs of leases just claimed."""
    views = await _views(db, caller, terms, [lease.job_id for lease in claimed], is_claimed=True)
    return [
        Grant(
            views[lease.job_id],
            lease.token,
            lease.standing.attempt,
            lease.standing.crashes,
            lease.lease_s,
            lease.lease_s,
            lease.timeout_s,
            lease.traceparent,
        )
        for lease in claimed
        if lease.job_id in views
    ]


async def _views(
    db: Database, caller: Caller, terms: LeaseTerms, job_ids: Sequence[UUID], *, is_claimed: bool = False
) -> dict[UUID, JobView]:
    views = await jobs_store.get(
        db,
        caller.tenant_id,
        job_ids,
        tenant=caller.tenant,
        tenant_cap=terms.tenant_cap,
        worker_alive_s=WORKER_ALIVE_S,
        has_data=True,
        has_result=False,
        is_claimed=is_claimed,
    )
    return {view.job_id: view for view in views}


async def renew(db: Database, clock: Clock, caller: Caller, beats: Sequence[Beat]) -> list[tuple[BeatStatus, datetime | None]]:
    """Renew a tenant's leases and tell starts and progress; answers each one's status and new expiry, in order.

    BUSY, without an expiry: not renewed, not lost; another transition held it each time it was tried.
    """
    answers: dict[UUID, tuple[BeatStatus, datetime | None]] = {}
    left = list(beats)
    for tries_left in range(BUSY_TRIES - 1, -1, -1):
        for at in range(0, len(left), BEATS_MAX):
            chunk = left[at : at + BEATS_MAX]
            answers |= await store.heartbeat(db, chunk, tenant_id=caller.tenant_id, deadline_s=HEARTBEAT_S_MAX)
        left = [beat for beat in left if answers[beat.token][0] is BeatStatus.BUSY]
        if not left or not tries_left:
            break
        await clock.sleep(BUSY_S)
    return [answers[beat.token] for beat in beats]


async def settle(db: Database, caller: Caller, terms: LeaseTerms, told: Sequence[Told], *, wake: Callable[[Lane], None]) -> list[Settled]:
    """Settle a tenant's leases, in one transaction; answers in order, a lost lease is an answer. wake is told the lanes that got jobs.

    Of a token told twice in one call the first one counts, the others are answered as if they came later.
    """
    firsts: dict[UUID, Told] = {}
    for one in told:
        firsts.setdefault(one.token, one)
    later = [one for one in told if firsts[one.token] is not one]
    answers: dict[int, Settled] = {}
    for batch in (sorted(firsts.values(), key=_job_id), later):
        if batch:
            settled = await _settle(db, caller, terms, batch, wake)
            answers |= {id(one): answer for one, answer in zip(batch, settled, strict=True)}
    return [answers[id(one)] for one in told]


def _job_id(one: Told) -> int:
    return one.job_id.int  # everybody locks in this order


async def _settle(db: Database, caller: Caller, terms: LeaseTerms, told: Sequence[Told], wake: Callable[[Lane], None]) -> list[Settled]:
    rows = await store.standings(db, caller.tenant_id, [(one.job_id, one.token, one.outcome.kind.value) for one in told])
    live = [(one, row) for one, row in zip(told, rows, strict=True) if row["attempt"] is not None]
    settled = iter(await leases.settle(db, [_settlement(one, row, terms) for one, row in live], wake=wake) if live else [])
    return [_gone(one, row) if row["attempt"] is None else next(settled) for one, row in zip(told, rows, strict=True)]


def _settlement(one: Told, row: Record, terms: LeaseTerms) -> Settlement:
    policy = terms.policy(attempts_max=row["attempts_max"], delay_s_base=row["retry_base_s"])
    return Settlement(one.job_id, one.token, Standing(row["attempt"], row["crashes"], policy), one.outcome, row["key_id"])


def _gone(one: Told, row: Record) -> Settled:
    if not row["is_replay"]:
        return Settled(one.job_id, SettleStatus.LEASE_LOST, None)
    return Settled(one.job_id, SettleStatus.REPLAYED, row["then_type"] or REPORTED_AS[one.outcome.kind])


async def check_exists(db: Database, caller: Caller, job_id: UUID) -> None:
    """Tell a job that is not the tenant's from one whose lease is lost. Raises NotFound."""
    if not await jobs_store.exists(db, caller.tenant_id, job_id):
        raise NotFound("there is no such job")
