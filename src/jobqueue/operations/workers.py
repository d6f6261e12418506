"""Workers made known, and kept known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jobqueue.domain.audit import Action, Target
from jobqueue.domain.errors import NotFound
from jobqueue.domain.lease import Directive
from jobqueue.operations import audit
from jobqueue.operations.jobs import WORKER_ALIVE_S, Caller
from jobqueue.store import workers as store
from jobqueue.store.pool import Database, Transaction

ACTIONS: Final = {Directive.QUIET: Action.WORKER_QUIETED, Directive.TERMINATE: Action.WORKER_TERMINATED}


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as its tenant sees it. running: the tenant's jobs it holds."""

    name: str
    queues: list[str]
    job_types: list[str]
    concurrency: int
    version: str | None
    state: str
    directive: str
    started_at: datetime
    last_heartbeat_at: datetime
    running: int


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """What a worker takes. queues: `*` alone is all of them."""

    queues: Sequence[str]
    job_types: Sequence[str]
    concurrency: int
    version: str | None = None


async def register(
    db: Database, *, name: str, queues: Sequence[str] | None, job_types: Sequence[str], concurrency: int, version: str
) -> int:
    """Make a database worker known, one that serves all tenants; answers its number. queues None: all."""
    return await store.register(
        db,
        tenant_id=None,
        name=name,
        queues=["*"] if queues is None else list(queues),
        job_types=job_types,
        concurrency=concurrency,
        version=version,
    )


async def beat(db: Database, worker_id: int, *, state: str = "running") -> str | None:
    """Say a worker is alive; answers run, quiet or terminate, None when it must register again."""
    return await store.beat(db, worker_id, state=state)


async def introduce(db: Database, caller: Caller, name: str, offer: WorkerOffer) -> int:
    """Make a tenant's worker known, or known anew with no directive; answers its number."""
    return await store.register(
        db,
        tenant_id=caller.tenant_id,
        name=name,
        queues=offer.queues,
        job_types=offer.job_types,
        concurrency=offer.concurrency,
        version=offer.version,
    )


async def appear(db: Database, caller: Caller, name: str, offer: WorkerOffer) -> tuple[int, Directive]:
    """Say a tenant's worker is alive, and make it known if nobody did; answers its number and its directive."""
    found = await store.find(db, caller.tenant_id, name)
    if found is None:
        return await introduce(db, caller, name, offer), Directive.RUN
    return found[0], Directive(found[1])


async def beat_as(db: Database, caller: Caller, name: str, *, state: str | None) -> Directive:
    """Say a tenant's worker is alive and in which state. Raises NotFound: it must introduce itself again."""
    found = await store.find(db, caller.tenant_id, name, state=state)
    if found is None:
        raise NotFound("there is no such worker; introduce it with PUT /v1/workers/{worker_id}")
    return Directive(found[1])


async def direct(db: Database, caller: Caller, name: str, directive: Directive) -> WorkerView:
    """Tell a worker what to do, the caller's own of that name or a database worker. Raises NotFound."""

    async def act(transaction: Transaction) -> None:
        if not await store.direct(transaction, caller.tenant_id, name, directive=directive):
            raise NotFound("there is no such worker")
        await audit.record(transaction, caller.tenant_id, caller.by, ACTIONS[directive], Target("worker", name))

    await db.in_transaction(act)
    (row,) = await store.page(db, caller.tenant_id, name=name, after="", worker_alive_s=WORKER_ALIVE_S, limit=1)
    return WorkerView(**dict(row))


async def page(db: Database, caller: Caller, *, after: str, limit: int) -> list[WorkerView]:
    """List the workers that are alive and work for a tenant, by name, from the one after `after` on."""
    rows = await store.page(db, caller.tenant_id, name=None, after=after, worker_alive_s=WORKER_ALIVE_S, limit=limit)
    return [WorkerView(**dict(row)) for row in rows]


async def sweep(db: Database, *, silent_s: float) -> int:
    """Forget workers silent for so long; answers how many."""
    return await store.sweep(db, silent_s=silent_s)
