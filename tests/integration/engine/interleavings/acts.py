"""The transitions that can meet on one job: how each is done on a given connection, and how the job stands before.

Each act answers one word or two, so that a table can say what it expects.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.errors import JobQueueError, WrongState
from jobqueue.domain.job import Submitted
from jobqueue.domain.lease import Beat, Lease, Settled
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, leases, upkeep
from jobqueue.operations.intake import Intake, SubmitDefaults
from jobqueue.operations.jobs import Caller
from jobqueue.store.pool import Database
from tests.engine import UP_S, WAIT_S_MAX, Engine, outcome, request, settlement

HOUR_S: Final = 3600.0
LOCK_TIMEOUT_MS: Final = 5_000


@dataclass
class Ground:
    """Where two transitions meet: one job of one tenant, and what its holder and its submitter know of it."""

    engine: Engine
    caller: Caller
    job_id: UUID | None = None
    lease: Lease | None = None
    late: datetime | None = None
    told: list[str] = field(default_factory=list)

    @property
    def job(self) -> UUID:
        assert self.job_id is not None
        return self.job_id

    @property
    def held(self) -> Lease:
        assert self.lease is not None
        return self.lease


ASKED: Final = {"key": "k", "expires_in_s": HOUR_S}
"""What every ground submits: with an idempotency key, and to be started within the hour."""


async def submit(ground: Ground, db: Database) -> str:
    if db is ground.engine.db:
        async with ground.engine.submitter() as submitter:
            return _submitted(ground, await submitter.submit(ground.caller.tenant_id, request(**ASKED)))
    defaults = SubmitDefaults(max_attempts=3, expires_in_s=None, max_queued=1_000_000)
    intake = Intake(db, ground.engine.names, defaults, wake=lambda lane: None)
    asked = await intake.number(ground.caller.tenant_id, [request(**ASKED)])
    (stored,) = await intake.store_together(asked, lock_timeout_ms=LOCK_TIMEOUT_MS, deadline_s=WAIT_S_MAX)
    assert isinstance(stored, Submitted)
    return _submitted(ground, stored)


def _submitted(ground: Ground, submitted: Submitted) -> str:
    if submitted.is_new:
        ground.job_id = submitted.job_id
        return "new"
    return "same" if submitted.job_id == ground.job_id else "another"


async def claim(ground: Ground, db: Database) -> str:
    claimer = await ground.engine.claimer(worker="worker-2")
    claimer._db = db
    found = await claimer.claim(jobs_max=10)
    if len(found) == 1 and found[0].job_id == ground.job_id:
        ground.lease = found[0]
    return "nothing" if not found else "claimed" if len(found) == 1 else f"claimed {len(found)}"


async def heartbeat(ground: Ground, db: Database) -> str:
    (status,) = await leases.heartbeat(db, [Beat(ground.held.job_id, ground.held.token, 0.0, 50.0)])
    return status.value


def _settling(kind: OutcomeKind) -> "Run":
    async def run(ground: Ground, db: Database) -> str:
        how = outcome(kind, delay_s=HOUR_S)
        (settled,) = await leases.settle(db, [settlement(ground.held, how)])
        return _settled(settled)

    return run


def _settled(settled: Settled) -> str:
    return settled.status.value if settled.next_status is None else f"{settled.status.value} {settled.next_status}"


async def cancel(ground: Ground, db: Database) -> str:
    return (await jobs.cancel(db, ground.caller, ground.job, grace_s=30.0)).value


async def recover(ground: Ground, db: Database) -> str:
    found = await leases.recover(db, ground.engine.terms, resumed_for_s=UP_S, now=ground.late)
    return " ".join(sorted(one.status for one in found)) or "nothing"


async def promote(ground: Ground, db: Database) -> str:
    return "promoted" if await upkeep.promote(db, now=ground.late) else "nothing"


async def expire(ground: Ground, db: Database) -> str:
    return "expired" if await upkeep.expire(db, now=ground.late) else "nothing"


async def retry(ground: Ground, db: Database) -> str:
    await jobs.retry(db, ground.caller, ground.job, is_reset=True)
    return "queued"


def _patching(**change: Any) -> "Run":
    async def run(ground: Ground, db: Database) -> str:
        timed = {"is_timed": True, "scheduled_at": ground.late} if change.get("is_delayed") else {}
        changed = {name: value for name, value in change.items() if name != "is_delayed"}
        await jobs.patch(db, ground.caller, ground.job, **changed, **timed)
        return "updated"

    return run


async def force_success(ground: Ground, db: Database) -> str:
    await jobs.force_success(db, ground.caller, ground.job, result_json="1", reason=None, by="test")
    return "succeeded"


async def unpark(ground: Ground, db: Database) -> str:
    return "unparked" if await upkeep.sweep_concurrency_keys(db) else "nothing"


Run = Callable[[Ground, Database], Awaitable[str]]

ACTS: Final[dict[str, tuple[str, Run]]] = {
    "submit": ("submit", submit),
    "claim": ("claim", claim),
    "heartbeat": ("heartbeat", heartbeat),
    "settle succeeded": ("settle", _settling(OutcomeKind.SUCCEEDED)),
    "settle failed": ("settle", _settling(OutcomeKind.FAILED)),
    "settle released": ("settle", _settling(OutcomeKind.RELEASED)),
    "cancel": ("cancel", cancel),
    "recover": ("recover", recover),
    "promote": ("promote", promote),
    "expire": ("expire", expire),
    "retry": ("retry", retry),
    "patch priority": ("patch", _patching(priority=0)),
    "patch to later": ("patch", _patching(is_delayed=True)),
    "patch to now": ("patch", _patching(is_timed=True)),
    "force success": ("force success", force_success),
    "unpark": ("unpark", unpark),
}
"""Name in the table -> (verb, how it is done)."""

VERBS: Final = tuple(dict.fromkeys(verb for verb, _ in ACTS.values()))


async def tried(act: str, ground: Ground, db: Database) -> str:
    """Do an act and answer what it says, a refusal by its code."""
    try:
        return await ACTS[act][1](ground, db)
    except WrongState as refusal:
        return f"{refusal.code} {refusal.status}"
    except JobQueueError as refusal:
        return str(refusal.code)


# ---------------------------------------------------------------------------------------------------- grounds


async def _nowhere(ground: Ground) -> None:
    pass


async def _queued(ground: Ground) -> None:
    ground.job_id = await ground.engine.submit(ground.caller, **ASKED)


async def _scheduled(ground: Ground) -> None:
    ground.job_id = await ground.engine.submit(ground.caller, **ASKED, delay_s=10.0)


async def _leased(ground: Ground) -> None:
    await _queued(ground)
    ground.lease = await ground.engine.claim_one()


async def _running(ground: Ground) -> None:
    await _leased(ground)
    await ground.engine.start(ground.held)


async def _cancelling(ground: Ground) -> None:
    await _running(ground)
    await tried("cancel", ground, ground.engine.db)


async def _failed(ground: Ground) -> None:
    await _leased(ground)
    await ground.engine.settle(ground.held, OutcomeKind.FAILED, delay_s=10.0)


async def _dlq(ground: Ground) -> None:
    await _leased(ground)
    await ground.engine.settle(ground.held, OutcomeKind.FAILED, is_retryable=False)


async def _succeeded(ground: Ground) -> None:
    await _leased(ground)
    await ground.engine.settle(ground.held)


async def _cancelled(ground: Ground) -> None:
    await _queued(ground)
    await tried("cancel", ground, ground.engine.db)


async def _expired(ground: Ground) -> None:
    await _queued(ground)
    await tried("expire", ground, ground.engine.db)


async def _keyed(ground: Ground) -> None:
    """A job that holds its concurrency key, with another parked behind it."""
    ground.job_id = await ground.engine.submit(ground.caller, **ASKED, concurrency_key="c")
    await ground.engine.submit(ground.caller, concurrency_key="c")
    ground.lease = await ground.engine.claim_one()


async def _parked(ground: Ground) -> None:
    """A parked job whose key has come to have room, since its limit was raised."""
    await ground.engine.submit(ground.caller, concurrency_key="c")
    ground.job_id = await ground.engine.submit(ground.caller, **ASKED, concurrency_key="c")
    await ground.engine.claim_one()
    await ground.engine.queue(ground.caller, key_max_concurrent=2)


GROUNDS: Final[dict[str, Callable[[Ground], Awaitable[None]]]] = {
    "nowhere": _nowhere,
    "queued": _queued,
    "scheduled": _scheduled,
    "parked": _parked,
    "leased": _leased,
    "running": _running,
    "cancelling": _cancelling,
    "keyed": _keyed,
    "failed": _failed,
    "dlq": _dlq,
    "succeeded": _succeeded,
    "cancelled": _cancelled,
    "expired": _expired,
}


async def arrange(start: str, engine: Engine, caller: Caller) -> Ground:
    """Bring a job to where a meeting begins."""
    ground = Ground(engine, caller, late=await engine.later(30 * 86400.0))
    await GROUNDS[start](ground)
    if ground.job_id is not None:
        ground.told = await engine.history(caller, ground.job_id)
    return ground
