"""Set a database right that was restored from a backup, before any role starts on it.

A restore puts the queue back to a moment. Jobs that ended later are open again and run again; jobs accepted later are gone, and so are
their idempotency keys, so a client that tries such a submit again makes a new job. That cannot be undone here. What can: leases held by
workers of the other life are given back, without blame, so that their tokens are nobody's; event numbers go on beyond all that were ever
given out, so that no stream takes a new event for one it had; and, if asked, queues are held until somebody has looked at what would run.

Each step is a transaction of its own and may be done again: run it anew where it broke off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from jobqueue.domain.audit import NOBODYS, SYSTEM, Action, Author, Target
from jobqueue.domain.lease import Settlement
from jobqueue.domain.outcome import Outcome, OutcomeKind, Standing, decide
from jobqueue.operations import audit
from jobqueue.operations.leases import LeaseTerms
from jobqueue.store import leases as leases_store
from jobqueue.store import restored as store
from jobqueue.store.pool import Database, Record, Transaction

BATCH: Final = 500
EVENTS_SKIPPED: Final = 10_000_000_000
"""More than are written between a backup and its restore; a hundred thousand restores fit into what a JavaScript number holds."""
LOOK_S_MAX: Final = 600.0
"""For a look at every open job, once."""


@dataclass(frozen=True, slots=True)
class Held:
    """A queue that was paused, and how many jobs are open in it."""

    tenant: str
    queue: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done and what stands now. cancelled: leases whose job had been asked to cancel. events_from: the next event's row."""

    given_back: int
    cancelled: int
    events_from: int
    ready: int
    scheduled: int
    held_back: int
    inbox: int
    api_keys: int
    users: int
    held: list[Held] = field(default_factory=list)


async def connected_roles(db: Database) -> dict[str, int]:
    """Count the sessions of roles on this database, by name; none may be there when it is set right."""
    return await store.sessions(db)


async def set_right(db: Database, terms: LeaseTerms, *, is_held: bool, by: Author = SYSTEM) -> Restored:
    """Do it all. is_held: pause every queue with open jobs first."""
    held = await _hold(db, by) if is_held else []
    given_back, cancelled = await _give_back(db, terms)

    async def skip_events(transaction: Transaction) -> int:
        seq = await store.skip_events(transaction, skipped=EVENTS_SKIPPED)
        data = {"leases_given_back": given_back, "leases_cancelled": cancelled, "queues_held": len(held), "events_from": seq}
        await audit.record(transaction, NOBODYS, by, Action.DATABASE_SET_RIGHT, Target("database"), data)
        return seq

    events_from = await db.in_transaction(skip_events)
    row = await store.standing(db, deadline_s=LOOK_S_MAX)
    return Restored(
        given_back=given_back,
        cancelled=cancelled,
        events_from=events_from,
        ready=row["ready"],
        scheduled=row["scheduled"],
        held_back=row["held_back"],
        inbox=row["inbox"],
        api_keys=row["api_keys"],
        users=row["users"],
        held=held,
    )


async def _hold(db: Database, by: Author) -> list[Held]:
    """Pause every queue with open jobs; each tenant finds it in its audit trail."""

    async def work(transaction: Transaction) -> list[Held]:
        rows = await store.hold(transaction)
        for row in rows:
            target = Target("queue", row["queue"])
            await audit.record(transaction, row["tenant_id"], by, Action.QUEUE_PAUSED, target, {"why": "the database was restored"})
        return [Held(row["tenant"], row["queue"], row["jobs"]) for row in rows]

    return await db.in_transaction(work, deadline_s=LOOK_S_MAX)


async def _give_back(db: Database, terms: LeaseTerms) -> tuple[int, int]:
    """Release every lease: a settle by someone else, as recovery is. Answers how many went back and how many ended cancelled."""
    given_back = cancelled = 0

    async def work(transaction: Transaction) -> list[str]:
        settlements = [_release(row, terms) for row in await store.leases(transaction, limit=BATCH)]
        if not settlements:
            return []
        nexts = [decide(settlement.standing, settlement.outcome, jitter=0.0) for settlement in settlements]
        exceptions, _ = await leases_store.settle(transaction, settlements, nexts, is_reaper=True)
        return [exceptions.get(settlement.token, ("", None))[1] or "queued" for settlement in settlements]

    while ends := await db.in_transaction(work):
        cancelled += ends.count("cancelled")
        given_back += len(ends) - ends.count("cancelled")
    return given_back, cancelled


def _release(row: Record, terms: LeaseTerms) -> Settlement:
    """A release gives the attempt back and blames nobody: the run did not end, its world did."""
    return Settlement(
        job_id=row["job_id"],
        token=row["token"],
        standing=Standing(row["attempt"], row["crashes"], terms.policy(attempts_max=row["attempts_max"], delay_s_base=None)),
        outcome=Outcome(OutcomeKind.RELEASED),
        key_id=row["key_id"],
    )
