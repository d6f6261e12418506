"""The reaper's cast, in the order it is started."""

from __future__ import annotations

from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault
from jobqueue.aio.supervise import Service
from jobqueue.operations.database import Database
from jobqueue.operations.inbox import Inbox
from jobqueue.operations.intake import SubmitDefaults
from jobqueue.operations.leases import LeaseTerms
from jobqueue.operations.wakeups import Waker
from jobqueue.reaper.events import Emit
from jobqueue.reaper.keepers import (
    Expirer,
    HealthKeeper,
    IdempotencySweeper,
    InboxReceiver,
    KeySweeper,
    PartitionKeeper,
    Promoter,
    QueueSampler,
    TallyFolder,
)
from jobqueue.reaper.leader import Leader
from jobqueue.reaper.lease_recoverer import LeaseRecoverer

CONNECTIONS = 7


def build_services(
    db: Database,
    direct_db: Database,
    terms: LeaseTerms,
    defaults: SubmitDefaults,
    *,
    holder: UUID,
    retention_s: float,
    clock: Clock,
    on_fault: OnFault,
    emit: Emit,
) -> list[Service]:
    """Make the reaper's services. direct_db bypasses a pooler, for leadership; holder is random, new at each process start."""
    waker = Waker(db, clock=clock)
    leader = Leader(direct_db, holder=holder, clock=clock, on_fault=on_fault, emit=emit)
    return [
        waker,
        leader,
        LeaseRecoverer(db, terms, clock=clock, on_fault=on_fault, emit=emit, wake=waker.wake),
        InboxReceiver(Inbox(db, defaults, wake=waker.wake), clock=clock, on_fault=on_fault),
        Promoter(db, leader, waker=waker, clock=clock, on_fault=on_fault),
        Expirer(db, leader, clock=clock, on_fault=on_fault, emit=emit),
        KeySweeper(db, leader, clock=clock, on_fault=on_fault),
        TallyFolder(db, leader, clock=clock, on_fault=on_fault),
        QueueSampler(db, leader, clock=clock, on_fault=on_fault),
        HealthKeeper(db, leader, clock=clock, on_fault=on_fault, emit=emit),
        PartitionKeeper(db, leader, kept_s=retention_s, clock=clock, on_fault=on_fault, emit=emit),
        IdempotencySweeper(db, leader, clock=clock, on_fault=on_fault),
    ]
