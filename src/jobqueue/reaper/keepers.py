"""The other periodic services, each one act of operations in its rhythm. All but the inbox receiver work on the leader only."""

from __future__ import annotations

from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault, PeriodicService
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import health, measures, queues, upkeep, users, workers
from jobqueue.operations.database import Database
from jobqueue.operations.inbox import RECEIVED_MAX, Inbox
from jobqueue.operations.upkeep import EXPIRED_MAX, FOLDED_MAX, PROMOTED_MAX, WALK_START
from jobqueue.operations.wakeups import Waker
from jobqueue.reaper.events import AuditMonthDropped, Emit, JobsExpired, PartitionDropped
from jobqueue.reaper.leader import Leader
from jobqueue.telemetry.events import JobsCompleted

INBOX_S: Final = 0.1
"""A job is seen within 250 ms of its transaction's commit."""
PROMOTE_S: Final = 0.25
EXPIRE_S: Final = 1.0
KEYS_S: Final = 1.0
FOLD_S: Final = 1.0
SAMPLE_S: Final = 5.0
HEALTH_S: Final = 15.0
MEASURE_S: Final = 5.0
MEASURE_SHARE: Final = 0.05
"""Of its time at the most that the leader measures: where a look takes long, looks are rarer."""
PARTITIONS_S: Final = 3600.0
SWEEP_S: Final = 1.0
WALK_S: Final = 3600.0
"""Between two walks over all idempotency keys."""


class Keeper(PeriodicService):
    """A periodic service that rests while another process leads."""

    def __init__(self, db: Database, leader: Leader, *, name: str, interval_s: float, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(name=name, interval_s=interval_s, clock=clock, on_fault=on_fault, backoff_s_max=max(5.0, interval_s))
        self._db = db
        self._leader = leader

    async def tick(self) -> float | None:
        """Keep, when this process leads."""
        if not self._leader.is_leader:
            return min(1.0, self.interval_s)
        return await self.keep()

    async def keep(self) -> float | None:
        """Do one bounded piece of work; answers the seconds until the next, None for the interval."""
        raise NotImplementedError


class Promoter(Keeper):
    """Makes due what waited for its time, and wakes who takes it."""

    def __init__(self, db: Database, leader: Leader, *, waker: Waker, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="promoter", interval_s=PROMOTE_S, clock=clock, on_fault=on_fault)
        self._waker = waker

    async def keep(self) -> float | None:
        """Promote one batch."""
        lanes = await upkeep.promote(self._db)
        self._waker.wake_all(lanes)
        return 0.0 if sum(lanes.values()) == PROMOTED_MAX else None


class InboxReceiver(PeriodicService):
    """Moves on what callers submitted inside their own transactions. Every reaper does: the inbox must not wait for a new leader."""

    def __init__(self, inbox: Inbox, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(name="inbox_receiver", interval_s=INBOX_S, clock=clock, on_fault=on_fault, backoff_s_max=1.0)
        self._inbox = inbox

    async def tick(self) -> float | None:
        """Move one batch on."""
        return 0.0 if await self._inbox.receive() == RECEIVED_MAX else None


class Expirer(Keeper):
    """Ends jobs that were not started in time."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        super().__init__(db, leader, name="expirer", interval_s=EXPIRE_S, clock=clock, on_fault=on_fault)
        self._emit = emit

    async def keep(self) -> float | None:
        """Expire one batch."""
        jobs = await upkeep.expire(self._db, told=self._tell)
        if jobs:
            self._emit(JobsExpired(jobs))
        return 0.0 if jobs >= EXPIRED_MAX else None

    def _tell(self, tenant: str, jobs: int) -> None:
        self._emit(JobsCompleted(tenant, Status.EXPIRED, jobs))


class KeySweeper(Keeper):
    """Lets parked jobs of keys with free slots in."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="key_sweeper", interval_s=KEYS_S, clock=clock, on_fault=on_fault)

    async def keep(self) -> float | None:
        """Sweep once."""
        await upkeep.sweep_concurrency_keys(self._db)
        return None


class TallyFolder(Keeper):
    """Folds counts into sums."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="tally_folder", interval_s=FOLD_S, clock=clock, on_fault=on_fault)

    async def keep(self) -> float | None:
        """Fold one batch."""
        return 0.0 if await upkeep.fold_tally(self._db) == FOLDED_MAX else None


class QueueSampler(Keeper):
    """Writes down what arrives at and leaves the queues, for their rates."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="queue_sampler", interval_s=SAMPLE_S, clock=clock, on_fault=on_fault)

    async def keep(self) -> float | None:
        """Sample once."""
        await queues.sample(self._db)
        return None


class Measurer(Keeper):
    """Measures the whole queue, for the metrics: the one source of its gauges."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        super().__init__(db, leader, name="measurer", interval_s=MEASURE_S, clock=clock, on_fault=on_fault)
        self._emit = emit

    async def keep(self) -> float | None:
        """Look once."""
        begun_s = self._clock.monotonic()
        found = await measures.read(self._db)
        for event in found.told():
            self._emit(event)
        return max(self.interval_s, (self._clock.monotonic() - begun_s) / MEASURE_SHARE)


class HealthKeeper(Keeper):
    """Looks how the database is, for the metrics."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        super().__init__(db, leader, name="health_keeper", interval_s=HEALTH_S, clock=clock, on_fault=on_fault)
        self._emit = emit

    async def keep(self) -> float | None:
        """Look once."""
        found = await health.read(self._db)
        self._emit(health.told(found))
        return None


class PartitionKeeper(Keeper):
    """Makes the weeks ahead, drops the weeks behind."""

    def __init__(self, db: Database, leader: Leader, *, kept_s: float, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        """kept_s: how long ended jobs are kept."""
        super().__init__(db, leader, name="partition_keeper", interval_s=PARTITIONS_S, clock=clock, on_fault=on_fault)
        self._kept_s = kept_s
        self._emit = emit
        self._tick_s_max = upkeep.DROP_S_MAX + 10

    async def keep(self) -> float | None:
        """Make what is missing, drop at most one week; at once again when one went."""
        await upkeep.make_partitions(self._db)
        week = await upkeep.drop_oldest_partition(self._db, kept_s=self._kept_s)
        if week is None:
            await workers.sweep(self._db, silent_s=self._kept_s + WALK_S)
            await users.sweep_tries(self._db)
            return None
        self._emit(PartitionDropped(week))
        return 0.0


class AuditKeeper(Keeper):
    """Makes the months of the audit trail that are ahead, drops those that are behind."""

    def __init__(self, db: Database, leader: Leader, *, kept_s: float, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        """kept_s: how long rows are kept at least."""
        super().__init__(db, leader, name="audit_keeper", interval_s=PARTITIONS_S, clock=clock, on_fault=on_fault)
        self._kept_s = kept_s
        self._emit = emit
        self._tick_s_max = upkeep.DROP_S_MAX + 10

    async def keep(self) -> float | None:
        """Make what is missing, drop at most one month; at once again when one went."""
        await upkeep.make_audit_months(self._db)
        month = await upkeep.drop_oldest_audit_month(self._db, kept_s=self._kept_s)
        if month is None:
            return None
        self._emit(AuditMonthDropped(month))
        return 0.0


class IdempotencySweeper(Keeper):
    """Walks the idempotency keys and forgets the old ones."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="idempotency_sweeper", interval_s=SWEEP_S, clock=clock, on_fault=on_fault)
        self._position = WALK_START

    async def keep(self) -> float | None:
        """Sweep one page; a long rest at the end of the walk."""
        page = await upkeep.sweep_idempotency(self._db, after=self._position)
        self._position = WALK_START if page.position is None else page.position
        return WALK_S if page.position is None else None
