"""The reaper's cast, in the order it is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault
from jobqueue.aio.supervise import Service
from jobqueue.operations.database import Database
from jobqueue.operations.inbox import Inbox
from jobqueue.operations.intake import SubmitDefaults
from jobqueue.operations.leases import LeaseTerms
from jobqueue.operations.wakeups import Waker
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.reaper.events import Emit
from jobqueue.reaper.keepers import (
    AuditKeeper,
    Expirer,
    HealthKeeper,
    IdempotencySweeper,
    InboxReceiver,
    KeySweeper,
    Measurer,
    PartitionKeeper,
    Promoter,
    QueueSampler,
    TallyFolder,
)
from jobqueue.reaper.leader import Leader
from jobqueue.reaper.lease_recoverer import LeaseRecoverer
from jobqueue.reaper.webhook_keepers import WebhookFanOut, WebhookMeter, WebhookSecretKeeper, WebhookSweeper
from jobqueue.reaper.webhook_sender import WebhookSender

CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class WebhookTerms:
    """What webhooks are sent under. now_s tells Unix time, which signatures carry; kept_s: how long a delivery is kept."""

    box: SecretBox
    guard: Guard
    now_s: Callable[[], float]
    kept_s: float


def build_services(
    db: Database,
    terms: LeaseTerms,
    defaults: SubmitDefaults,
    *,
    leader: Leader,
    webhook_leader: Leader,
    retention_s: float,
    webhooks: WebhookTerms | None,
    audit_retention_s: float,
    clock: Clock,
    on_fault: OnFault,
    emit: Emit,
) -> list[Service]:
    """Make the reaper's services. All but the recoverer and the inbox receiver rest while leader, which is one of them, does not lead.

    webhooks None: they are left to other reapers, for want of the key that opens their secrets.
    """
    waker = Waker(db, clock=clock)
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
        Measurer(db, leader, clock=clock, on_fault=on_fault, emit=emit),
        HealthKeeper(db, leader, clock=clock, on_fault=on_fault, emit=emit),
        PartitionKeeper(db, leader, kept_s=retention_s, clock=clock, on_fault=on_fault, emit=emit),
        AuditKeeper(db, leader, kept_s=audit_retention_s, clock=clock, on_fault=on_fault, emit=emit),
        IdempotencySweeper(db, leader, clock=clock, on_fault=on_fault),
        *(() if webhooks is None else _webhook_services(db, webhook_leader, webhooks, clock=clock, on_fault=on_fault, emit=emit)),
    ]


def _webhook_services(
    db: Database, leader: Leader, terms: WebhookTerms, *, clock: Clock, on_fault: OnFault, emit: Emit
) -> Sequence[Service]:
    sender = WebhookSender(db, leader, terms.box, terms.guard, now_s=terms.now_s, clock=clock, on_fault=on_fault, emit=emit)
    return (
        leader,
        sender,
        WebhookFanOut(db, leader, wake=sender.wake, clock=clock, on_fault=on_fault),
        WebhookSweeper(db, leader, kept_s=terms.kept_s, clock=clock, on_fault=on_fault),
        WebhookSecretKeeper(db, leader, terms.box, clock=clock, on_fault=on_fault),
        WebhookMeter(db, leader, clock=clock, on_fault=on_fault, emit=emit),
    )
