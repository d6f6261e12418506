"""From the history to endpoints: make deliveries of events, take those that are due, record what came of them.

The event row is the outbox: nothing is added to what claims and settles jobs. Deliveries are made behind the feed's safe mark, so no event
is passed over, and together with the cursor's move, so none is made twice however many do it or die in the middle. What is taken and not
recorded is due again: at least once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.feed import FeedEvent, SafeMark, read_row
from jobqueue.domain.webhook import (
    FAILING_S_MAX,
    PAUSE_S_MAX,
    PAUSED_AFTER,
    PREFIX,
    Answer,
    DeliveryStatus,
    EventFilter,
    State,
    Verdict,
    body_of,
    judge,
)
from jobqueue.operations.webhook_secrets import SecretBox, SecretUnreadable
from jobqueue.store import feed
from jobqueue.store import webhook_deliveries as deliveries
from jobqueue.store import webhooks as store
from jobqueue.store.pool import Database, Record, Transaction

WINDOW: Final = 20_000
"""Numbers one step walks over, most of them perhaps of tenants without endpoints."""
ROWS_MAX: Final = 500
"""Rows of the history one step makes deliveries of, for at most 50 endpoints of their tenant each."""
IDLE_S_MAX: Final = 10.0
"""A process that stops in the middle of a step lets go of the cursor after this."""
SWEPT_MAX: Final = 1_000
RESEALED_MAX: Final = 500
WALK_START: Final = (UUID(int=0), 0)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. is_behind: there is more to do at once; has_endpoints: somebody wants to be told."""

    deliveries: int
    is_behind: bool
    has_endpoints: bool
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class _Endpoint:
    webhook_id: UUID
    tenant: str
    status: DeliveryStatus
    wanted: EventFilter


class FanOut:
    """Makes deliveries of events. Its memory is the safe mark only; where it stands is in the database."""

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._mark = SafeMark()
        self._done: Step | None = None
        self._done_to = -1

    async def step(self, *, now: datetime | None = None) -> Step:
        """Make deliveries of the next events that are safe to read."""
        newest = await feed.newest(self._db)
        if newest < self._mark.newest():
            self._mark, self._done = SafeMark(), None  # a restore
        if newest > self._mark.newest() or self._mark.is_waiting:
            self._mark.look(newest, await feed.writers(self._db), now_s=self._clock.monotonic())
        reached, is_waiting = self._mark.reached, self._mark.is_waiting
        if is_waiting and not reached:
            return Step(0, is_behind=False, has_endpoints=True, is_waiting=True)
        if self._done is not None and reached == self._done_to:
            return replace(self._done, is_waiting=is_waiting)

        async def work(transaction: Transaction) -> Step:
            return await _advance(transaction, reached, now)

        step = await self._db.in_transaction(work)
        self._done, self._done_to = (None, -1) if step.is_behind else (replace(step, deliveries=0), reached)
        return replace(step, is_waiting=is_waiting)


async def _advance(transaction: Transaction, reached: int, now: datetime | None) -> Step:
    """Move the cursor towards the mark, with the deliveries of what it passes."""
    cursor = await store.lock_cursor(transaction, idle_s=IDLE_S_MAX)
    endpoints = _by_tenant(await store.endpoints(transaction))
    if cursor is None or not endpoints:
        if cursor is None or cursor < reached:
            await store.move_cursor(transaction, reached)
        return Step(0, is_behind=False, has_endpoints=bool(endpoints))
    if cursor >= reached:
        return Step(0, is_behind=False, has_endpoints=True)
    last = min(reached, cursor + WINDOW)
    rows = await feed.events(transaction, sorted(endpoints), seq_after=cursor, seq_last=last, limit=ROWS_MAX)
    if len(rows) == ROWS_MAX:
        last = rows[-1].packed.seq
    elif not rows and last < reached:  # far stretches may be empty, as after a restore
        following = await feed.next_seq(transaction, seq_after=last)
        last = reached if following is None else min(reached, following - 1)
    made = [one for row in rows for event in read_row(row) if (one := _made(event, endpoints[event.tenant_id])) is not None]
    count = await deliveries.insert(transaction, made, now=now) if made else 0
    await store.move_cursor(transaction, last)
    return Step(count, is_behind=last < reached, has_endpoints=True)


def _by_tenant(rows: Sequence[Record]) -> Mapping[int, list[_Endpoint]]:
    endpoints: defaultdict[int, list[_Endpoint]] = defaultdict(list)
    for row in rows:
        status = DeliveryStatus.PENDING if row["state"] == State.ACTIVE else DeliveryStatus.SKIPPED
        wanted = EventFilter(frozenset(row["event_types"]), frozenset(row["queues"]), frozenset(row["job_types"]))
        endpoints[row["tenant_id"]].append(_Endpoint(row["webhook_id"], row["tenant"], status, wanted))
    return endpoints


def _made(event: FeedEvent, endpoints: Sequence[_Endpoint]) -> deliveries.NewDelivery | None:
    wanted = [(one.webhook_id, one.status.value) for one in endpoints if one.wanted.wants(event)]
    if not wanted:
        return None
    body = body_of(event, endpoints[0].tenant)
    return deliveries.NewDelivery(event.cursor, event.tenant_id, event.job_id, PREFIX + event.type, event.at, body, wanted)


# ------------------------------------------------------------------------------------------------------------ sending


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery to be tried now, for the attempt-th time. secrets: what signs it; unreadable: why nothing can."""

    webhook_id: UUID
    seq: int
    attempt: int
    tenant: str
    url: str
    body: bytes
    event_at: datetime
    secrets: tuple[bytes, ...]
    unreadable: str | None = None


async def claim(
    db: Database, box: SecretBox, busy: Mapping[UUID, int], *, endpoint_max: int, limit: int, claim_s: float, now: datetime | None = None
) -> list[Claimed]:
    """Take deliveries that are due. busy: how many of which endpoint are being sent; what is not recorded in claim_s is due again."""
    rows = await deliveries.claim(db, busy, endpoint_max=endpoint_max, probed_after=PAUSED_AFTER, limit=limit, claim_s=claim_s, now=now)
    return [_claimed(row, box) for row in rows]


def _claimed(row: Record, box: SecretBox) -> Claimed:
    secrets: tuple[bytes, ...] = ()
    unreadable = None
    try:
        secrets = tuple(box.open(sealed) for sealed in (row["secret_sealed"], row["previous_sealed"]) if sealed is not None)
    except SecretUnreadable as error:
        unreadable = str(error)
    body = row["body"].encode()
    return Claimed(row["webhook_id"], row["seq"], row["attempts"], row["tenant"], row["url"], body, row["event_at"], secrets, unreadable)


@dataclass(frozen=True, slots=True)
class Tried:
    """A try with what came of it. jitter in [0, 1) is drawn by the caller."""

    claimed: Claimed
    answer: Answer
    jitter: float

    def verdict(self) -> Verdict:
        """What follows."""
        return judge(self.answer, attempt=self.claimed.attempt, jitter=self.jitter)


@dataclass(frozen=True, slots=True)
class Disabled:
    """An endpoint that is told no more."""

    webhook_id: UUID
    tenant: str
    reason: str


async def record(db: Database, tries: Sequence[Tried], *, now: datetime | None = None) -> list[Disabled]:
    """Record what came of tries; answers the endpoints that were disabled by it."""
    rows = await deliveries.record(
        db,
        [_recorded(one, one.verdict()) for one in tries],
        paused_after=PAUSED_AFTER,
        pause_s_max=PAUSE_S_MAX,
        failing_s_max=FAILING_S_MAX,
        now=now,
    )
    return [Disabled(row["webhook_id"], row["tenant"], row["disabled_reason"]) for row in rows if row["is_disabled_now"]]


def _recorded(one: Tried, verdict: Verdict) -> deliveries.Recorded:
    return deliveries.Recorded(
        webhook_id=one.claimed.webhook_id,
        seq=one.claimed.seq,
        attempt=one.claimed.attempt,
        status=verdict.status,
        delay_s=verdict.delay_s,
        answer_status=one.answer.status,
        error=verdict.error,
        excerpt=one.answer.excerpt,
        answer_s=one.answer.took_s,
        is_gone=verdict.is_gone,
    )


async def lag_s(db: Database) -> float:
    """Say for how long the delivery that is due the longest has been, of endpoints that take what they are sent; 0: none is."""
    return await deliveries.lag_s(db)


# ------------------------------------------------------------------------------------------------------------ upkeep


async def sweep(
    db: Database, *, after: tuple[UUID, int], kept_s: float, now: datetime | None = None
) -> tuple[tuple[UUID, int], int] | None:
    """Forget a page of a walk over deliveries: old ones, and those of endpoints that are no more.

    Answers where the page ended and how many went; None at the end of the walk.
    """
    return await deliveries.sweep(db, after=after, kept_s=kept_s, limit=SWEPT_MAX, now=now)


async def keep_secrets(db: Database, box: SecretBox) -> int:
    """Forget secrets whose grace is over, and seal the others with the newest key; answers how many were sealed anew."""
    await store.forget_previous(db)
    after_id, count = UUID(int=0), 0
    while rows := await store.sealed(db, after_id=after_id, limit=RESEALED_MAX):
        for row in rows:
            count += await _reseal(db, box, row)
        after_id = rows[-1]["webhook_id"]
    return count


async def _reseal(db: Database, box: SecretBox, row: Record) -> int:
    sealed = [one for one in (row["secret_sealed"], row["previous_sealed"]) if one is not None]
    if all(box.is_newest(one) for one in sealed):
        return 0
    try:
        anew = [box.seal(box.open(one)) for one in sealed]
    except SecretUnreadable:
        return 0  # told with each of its deliveries
    await store.reseal(db, row, secret_sealed=anew[0], previous_sealed=anew[1] if len(anew) > 1 else None)
    return 1
