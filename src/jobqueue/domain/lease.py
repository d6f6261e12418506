"""A claimed job in the hands of its holder, and what the holder reports while it runs.

These are made once a job, so they are not frozen: a frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from jobqueue.domain.outcome import Outcome, Standing

BEATS_PER_LEASE: Final = 3
"""Renewals per lease length: one may be lost and one late before a living worker is taken for dead (failures.md B5)."""

SELF_FENCE_MARGIN_S: Final = 0.5
"""A holder trusts its lease for this much less than the database grants."""


@dataclass(slots=True)
class Lease:
    """One job, held. Time alone never proves ownership, the token does.

    data_json is the job's `data` as JSON text, as it was submitted. lease_s: how long the lease lives without a heartbeat.
    `is_isolated`: a run before this one ended with its process, so this one runs alone in a process of its own. granted_at: a boottime
    before the lease was granted; None: it is only known that it was after the claim was sent. waited_s: how long the job had been due, on
    the database's clock; None: who granted it has counted that.
    """

    job_id: UUID
    token: UUID
    tenant: str
    queue: str
    job_type: str
    priority: str
    standing: Standing
    data_json: str
    lease_s: float
    timeout_s: float
    key_id: int | None
    tags: list[str]
    metadata_json: str | None
    idempotency_key: str | None
    correlation_id: str | None
    traceparent: str | None
    granted_at: float | None = None
    waited_s: float | None = None

    @property
    def created_at(self) -> datetime:
        """When the job was submitted; a UUIDv7 carries it in its first 48 bits, in ms."""
        return datetime.fromtimestamp((self.job_id.int >> 80) / 1000, UTC)

    @property
    def trace_id(self) -> str | None:
        """The trace the job belongs to; a traceparent carries it after its version."""
        return None if self.traceparent is None else self.traceparent[3:35]

    @property
    def is_isolated(self) -> bool:
        """Whether the run must not share a process with others."""
        return self.standing.crashes > 0


@dataclass(slots=True)
class Beat:
    """What a holder says of one lease. started_ago_s: since its handler started, None if it has not."""

    job_id: UUID
    token: UUID
    started_ago_s: float | None = None
    progress: float | None = None
    message: str | None = None


class Directive(StrEnum):
    """What a worker is told to do, with the answer to its heartbeat."""

    RUN = "run"
    QUIET = "quiet"
    """Claim nothing more, finish what runs, stay."""
    TERMINATE = "terminate"
    """Drain and end."""


class BeatStatus(StrEnum):
    """What the database says of one lease."""

    OK = "ok"
    BUSY = "busy"
    """The row is locked by another transition: not renewed, not lost. Beat again soon."""
    LOST = "lost"
    CANCEL_REQUESTED = "cancel_requested"


@dataclass(slots=True)
class Settlement:
    """One lease with how it ended. tenant: whose it is, where known; who waits for one of its slots is told."""

    job_id: UUID
    token: UUID
    standing: Standing
    outcome: Outcome
    key_id: int | None = None
    tenant: str | None = None


class SettleStatus(StrEnum):
    """What became of one settlement. REPLAYED: this very token settled this way before, so the answer to it was lost."""

    SETTLED = "settled"
    REPLAYED = "replayed"
    LEASE_LOST = "lease_lost"


@dataclass(slots=True)
class Settled:
    """The answer to one settlement; `next_status` is None when the lease was lost."""

    job_id: UUID
    status: SettleStatus
    next_status: str | None


def waits_by_queue(leases: Iterable[Lease]) -> dict[str, list[float]]:
    """Gather how long jobs had been due, by queue."""
    waits_s: dict[str, list[float]] = {}
    for lease in leases:
        if lease.waited_s is not None:
            waits_s.setdefault(lease.queue, []).append(max(0.0, lease.waited_s))
    return waits_s
