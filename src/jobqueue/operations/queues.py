"""A tenant's queues: settings, pause and resume, and the figures autoscalers read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from jobqueue.domain import audit
from jobqueue.domain.audit import Action, Target
from jobqueue.domain.errors import NotFound
from jobqueue.domain.rotation import Lane
from jobqueue.domain.scaling import Load, desired_workers
from jobqueue.operations.audit import record
from jobqueue.operations.jobs import WORKER_ALIVE_S, Caller
from jobqueue.operations.naming import NameBook
from jobqueue.store import queues as store
from jobqueue.store import tenants as tenant_store
from jobqueue.store.pool import Database, Record, Transaction

RATE_WINDOW_S: Final = 60.0
"""Rates are means over about this long."""
SAMPLES_KEPT_S: Final = 600.0
KEY_MAX_CONCURRENT_DEFAULT: Final = 1
LANES_WOKEN_MAX: Final = 500
"""Lanes a change of settings wakes; workers find the others when they look."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue's settings. None: the default stands; max_concurrent 0: no limit."""

    name: str
    is_paused: bool
    max_concurrent: int | None
    key_max_concurrent: int
    rate_per_second: float | None
    max_attempts: int | None
    retry_base_s: float | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue's figures. Rates are jobs a second over the last minute."""

    ready: int = 0
    scheduled: int = 0
    running: int = 0
    failed: int = 0
    dlq: int = 0
    oldest_ready_age_s: float = 0.0
    arrival_rate: float = 0.0
    completion_rate: float = 0.0
    desired_workers: int = 0


def _view(name: str, row: Record | None) -> QueueView:
    if row is None or row["is_paused"] is None:
        return QueueView(name, False, None, KEY_MAX_CONCURRENT_DEFAULT, None, None, None)
    return QueueView(
        name,
        row["is_paused"],
        row["max_concurrent"],
        row["key_max_concurrent"],
        row["rate_per_second"],
        row["max_attempts"],
        row["retry_base_s"],
    )


async def get(db: Database, caller: Caller, name: str) -> QueueView:
    """Read a queue's settings. Raises NotFound for one the tenant never used nor set."""
    row = await store.get(db, caller.tenant_id, name)
    if row is None:
        raise NotFound("there is no such queue; it exists once a job was submitted to it or a setting made")
    return _view(name, row)


async def page(db: Database, caller: Caller, *, after: str = "", limit: int) -> list[QueueView]:
    """List the queues a tenant used or set, by name, from the one after `after` on."""
    return [_view(row["name"], row) for row in await store.page(db, caller.tenant_id, after=after, limit=limit)]


async def change(
    db: Database,
    names: NameBook,
    caller: Caller,
    name: str,
    changes: Mapping[str, Any],
    *,
    wake: Callable[[Lane], None],
    action: Action = Action.QUEUE_CHANGED,
) -> QueueView:
    """Change a queue's settings, fields of QueueView by name, under the tenant's gate; in force for every claim after this returns.

    wake is told the lanes whose jobs may go now. action: what it was asked as.
    """
    queue_id = (await names.queue_ids([name]))[name]

    async def act(transaction: Transaction) -> QueueView:
        await tenant_store.hold(transaction, caller.tenant_id)  # so that nobody changes it between the look and the change
        before = asdict(_view(name, await store.get(transaction, caller.tenant_id, name)))
        view = _view(name, await store.change(transaction, caller.tenant_id, queue_id, changes_json=orjson.dumps(dict(changes)).decode()))
        differences = audit.changes(before, asdict(view))
        await record(transaction, caller.tenant_id, caller.by, action, Target("queue", name), differences)
        return view

    view = await db.in_transaction(act, tenant_id=caller.tenant_id)
    if not view.is_paused:
        for lane in await store.lanes(db, caller.tenant_id, queue_id, limit=LANES_WOKEN_MAX):
            wake(lane)
    return view


async def stats(db: Database, caller: Caller, *, names: Sequence[str], default_concurrency: int) -> dict[str, QueueStats]:
    """Read the figures of queues, of all the tenant used when names is empty; a queue nobody used has zeros.

    default_concurrency: jobs at once of a worker, for a queue that no living worker takes.
    """
    rows = await store.stats(db, caller.tenant_id, names=names, window_s=RATE_WINDOW_S)
    concurrency = await store.worker_concurrency(db, caller.tenant_id, names=[row["name"] for row in rows], worker_alive_s=WORKER_ALIVE_S)
    found = {row["name"]: _stats(row, concurrency.get(row["name"], float(default_concurrency))) for row in rows}
    return {name: found.get(name, QueueStats()) for name in (names or sorted(found))}


def _stats(row: Record, concurrency: float) -> QueueStats:
    arrival_rate, completion_rate, duration_s = _rates(row)
    load = Load(row["ready"], row["running"], arrival_rate, duration_s, max(1.0, concurrency))
    return QueueStats(
        ready=row["ready"],
        scheduled=row["scheduled"],
        running=row["running"],
        failed=row["failed"],
        dlq=row["dlq"],
        oldest_ready_age_s=row["oldest_ready_age_s"] or 0.0,
        arrival_rate=arrival_rate,
        completion_rate=completion_rate,
        desired_workers=desired_workers(load),
    )


def _rates(row: Record) -> tuple[float, float, float | None]:
    """Arrivals and ends a second since the window's first sample, and the mean duration of what ended, ever if none did since."""
    ended, ran_s = row["ended"], row["ran_s"]
    duration_s = ran_s / ended if ended else None
    if row["sampled_ago_s"] is None or row["sampled_ago_s"] < 1:
        return 0.0, 0.0, duration_s
    arrived_since = row["arrived"] - row["arrived_then"]
    ended_since = ended - row["ended_then"]
    if ended_since > 0:
        duration_s = (ran_s - row["ran_s_then"]) / ended_since
    return max(0.0, arrived_since / row["sampled_ago_s"]), max(0.0, ended_since / row["sampled_ago_s"]), duration_s


async def sample(db: Database) -> int:
    """Write down the figures of queues that moved, for the rates; answers how many."""
    return await store.sample(db, window_s=RATE_WINDOW_S, kept_s=SAMPLES_KEPT_S)
