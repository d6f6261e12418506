"""What the reaper tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jobqueue.telemetry.events import Event


@dataclass(frozen=True, slots=True)
class LeaderElected:
    """This process leads from now on. role: what is led."""

    name: ClassVar[str] = "leader.elected"
    term: int
    role: str = "reaper"


@dataclass(frozen=True, slots=True)
class LeaderResigned:
    """This process leads no more."""

    name: ClassVar[str] = "leader.resigned"
    term: int
    role: str = "reaper"


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The database's clock moved against ours; no lease is reaped for a while."""

    name: ClassVar[str] = "clock.stepped"
    step_s: float


@dataclass(frozen=True, slots=True)
class JobsExpired:
    """Jobs were not started in time."""

    name: ClassVar[str] = "jobs.expired"
    jobs: int


@dataclass(frozen=True, slots=True)
class PartitionDropped:
    """A week of jobs that nobody needed is gone."""

    name: ClassVar[str] = "partition.dropped"
    week: str


@dataclass(frozen=True, slots=True)
class WebhookDisabled:
    """An endpoint is told no more. reason: `gone`, it answered 410; `failing`, it took nothing for days."""

    name: ClassVar[str] = "webhook.disabled"
    level: ClassVar[str] = "info"
    tenant_id: str
    webhook_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditMonthDropped:
    """A month of the audit trail is old enough to go."""

    name: ClassVar[str] = "audit.month_dropped"
    month: str


Emit = Callable[[Event], None]
