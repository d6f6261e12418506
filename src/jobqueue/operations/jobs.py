"""Read a job, change it, cancel it, retry it, declare it done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from jobqueue.domain.audit import SYSTEM, Action, Author, Target, cut
from jobqueue.domain.errors import AttemptsExhausted, InvalidFields, NotFinished, NotFound, WrongState
from jobqueue.domain.history import row_of, unpack
from jobqueue.domain.job import EVENTS_PER_PAGE, PRIORITIES, HistoryEvent, JobCounts, JobView
from jobqueue.domain.lifecycle import FINAL, Status
from jobqueue.domain.rotation import Lane
from jobqueue.operations import audit
from jobqueue.store import jobs as store
from jobqueue.store import upkeep
from jobqueue.store.pool import Database, Transaction

WORKER_ALIVE_S: Final = 15.0
"""A worker silent for longer counts as gone; it beats three times in this."""

Verdict = tuple[str, str | None]
"""What a function of the engine says of an act, and the job's status; a refusal is raised after the commit of nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant a verified credential speaks for, and who acts in its name, as the audit trail shall have it."""

    tenant_id: int
    tenant: str
    by: Author = SYSTEM


@dataclass(frozen=True, slots=True)
class EventPage:
    """Part of a job's history. next_seq: where the next page starts, None at the end."""

    events: Sequence[HistoryEvent]
    next_seq: int | None


async def get(db: Database, caller: Caller, job_id: UUID, *, tenant_cap: int, has_result: bool = False) -> JobView:
    """Read one job. tenant_cap: the settings' limit of running jobs, for the waiting reason. Raises NotFound."""
    views = await store.get(
        db,
        caller.tenant_id,
        [job_id],
        tenant=caller.tenant,
        tenant_cap=tenant_cap,
        worker_alive_s=WORKER_ALIVE_S,
        has_data=not has_result,
        has_result=has_result,
    )
    if not views:
        raise NotFound("there is no such job")
    return views[0]


async def result(db: Database, caller: Caller, job_id: UUID) -> JobView:
    """Read how a job ended, with its result. Raises NotFound, and NotFinished while it has not."""
    view = await get(db, caller, job_id, tenant_cap=0, has_result=True)
    if view.status not in FINAL:
        raise NotFinished(f"the job is {view.status}")
    return view


async def events(db: Database, caller: Caller, job_id: UUID, *, seq_from: int = 0, limit: int = EVENTS_PER_PAGE) -> EventPage:
    """Read a job's history from a public seq on, in order. Raises NotFound."""
    rows = await store.events(db, caller.tenant_id, job_id, seq_from=row_of(seq_from), limit=limit + 1)
    if not rows and not await store.exists(db, caller.tenant_id, job_id):
        raise NotFound("there is no such job")
    found = [event for row in rows for event in unpack(row) if event.seq >= seq_from]
    return EventPage(found[:limit], found[limit].seq if len(found) > limit else None)


async def cancel(db: Database, caller: Caller, job_id: UUID, *, grace_s: float, ended: Callable[[], None] | None = None) -> Status:
    """Cancel a job; answers cancelled, or leased or running when its holder has been asked.

    ended is called when this call ended it. Raises NotFound, WrongState when it has ended otherwise.
    """

    async def act(transaction: Transaction) -> Verdict:
        verdict, status = await store.cancel(transaction, caller.tenant_id, job_id, grace_s=grace_s)
        if verdict not in ("unknown", "finished"):
            await _record(transaction, caller, Action.JOB_CANCELLED, job_id, {"status": status})
        return verdict, status

    verdict, status = await db.in_transaction(act, tenant_id=caller.tenant_id)
    if verdict == "unknown" or status is None:
        raise NotFound("there is no such job")
    if verdict == "finished":
        raise WrongState(f"the job is {status} and cannot be cancelled", status=status)
    if verdict == "cancelled" and ended is not None:
        ended()
    return Status(status)


async def retry(db: Database, caller: Caller, job_id: UUID, *, is_reset: bool) -> Lane | None:
    """Send a job back to the queue; answers its lane, for a wake-up. Raises NotFound, WrongState, AttemptsExhausted."""

    async def act(transaction: Transaction) -> Verdict:
        verdict, status = await store.retry(transaction, caller.tenant_id, job_id, is_reset=is_reset)
        if verdict == "queued":
            await _record(transaction, caller, Action.JOB_RETRIED, job_id, {"reset_attempts": is_reset})
        return verdict, status

    verdict, status = await db.in_transaction(act, tenant_id=caller.tenant_id)
    match verdict:
        case "queued":
            return await store.lane_of(db, caller.tenant_id, job_id)
        case "exhausted":
            raise AttemptsExhausted("no attempts are left; set reset_attempts to run it again")
        case "wrong_state":
            raise WrongState(f"the job is {status} and cannot be retried", status=status or "unknown")
        case _:
            raise NotFound("there is no such job")


async def patch(
    db: Database,
    caller: Caller,
    job_id: UUID,
    *,
    priority: int | None = None,
    max_attempts: int | None = None,
    is_timed: bool = False,
    scheduled_at: datetime | None = None,
) -> Lane | None:
    """Change a waiting job; answers its lane when it is due, for a wake-up. is_timed: scheduled_at applies, None or past is now.

    Raises NotFound, WrongState when it does not wait any more, InvalidFields when max_attempts leaves it no attempt.
    """
    asked = {"priority": None if priority is None else PRIORITIES[priority], "max_attempts": max_attempts}
    given = {name: value for name, value in asked.items() if value is not None} | ({"scheduled_at": scheduled_at} if is_timed else {})

    async def act(transaction: Transaction) -> Verdict:
        verdict, status = await store.patch(
            transaction, caller.tenant_id, job_id, priority=priority, attempts_max=max_attempts, is_timed=is_timed, run_at=scheduled_at
        )
        if verdict == "updated":
            await _record(transaction, caller, Action.JOB_UPDATED, job_id, given)
        return verdict, status

    verdict, status = await db.in_transaction(act, tenant_id=caller.tenant_id)
    match verdict:
        case "updated":
            return await store.lane_of(db, caller.tenant_id, job_id)
        case "exhausted":
            raise InvalidFields([("/max_attempts", "the job has used as many attempts already")])
        case "wrong_state":
            raise WrongState(f"the job is {status} and cannot be changed", status=status or "unknown")
        case _:
            raise NotFound("there is no such job")


async def force_success(db: Database, caller: Caller, job_id: UUID, *, result_json: str | None, reason: str | None, by: str) -> None:
    """Declare a failed job done, with who did it in its history. Raises NotFound, WrongState."""
    note = orjson.dumps({"by": by, "reason": reason}).decode()

    async def act(transaction: Transaction) -> Verdict:
        verdict, status = await store.force_success(transaction, caller.tenant_id, job_id, result_json=result_json, note_json=note)
        if verdict == "succeeded":
            await _record(transaction, caller, Action.JOB_FORCE_SUCCEEDED, job_id, {"reason": cut(reason)})
        return verdict, status

    verdict, status = await db.in_transaction(act, tenant_id=caller.tenant_id)
    if verdict == "unknown":
        raise NotFound("there is no such job")
    if verdict == "wrong_state":
        raise WrongState(f"the job is {status}; only dlq and failed can be declared done", status=status or "unknown")


async def _record(transaction: Transaction, caller: Caller, action: Action, job_id: UUID, data: Mapping[str, Any]) -> None:
    await audit.record(transaction, caller.tenant_id, caller.by, action, Target("job", str(job_id)), data)


async def count(db: Database, caller: Caller) -> JobCounts:
    """Count a tenant's kept jobs by status, in one snapshot."""
    counts = JobCounts(by_status=dict.fromkeys(Status, 0))
    for status, jobs, entered in await store.count_by_status(db, caller.tenant_id):
        counts.by_status[Status(status)] = jobs
        if status == Status.FAILED:
            counts.retries = entered
    counts.as_of = datetime.fromtimestamp(await upkeep.clock_s(db), UTC)
    return counts
