"""What a worker tells, beside the events it shares with others (telemetry/events.py): facts, each emitted once, after it happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from jobqueue.telemetry.events import Event

Tell = Callable[[Event], None]
"""Takes an event, as Telemetry.emit does. Must not raise or block; the heartbeater calls it from its own thread."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A lease is gone or could not be renewed in time; its handler was told to stop."""

    name: ClassVar[str] = "lease.lost"
    level: ClassVar[str] = "warning"
    job_id: UUID
    tenant_id: str
    attempt: int
    correlation_id: str | None
    trace_id: str | None
    was_started: bool


@dataclass(frozen=True, slots=True)
class HandlerLeft:
    """A handler did not stop within the grace and was left behind; a thread keeps its slot until it returns."""

    name: ClassVar[str] = "handler.left"
    level: ClassVar[str] = "warning"
    job_id: UUID
    tenant_id: str
    attempt: int
    correlation_id: str | None
    trace_id: str | None
    is_thread: bool


@dataclass(frozen=True, slots=True)
class ThreadTimedOut:
    """A handler in a thread went past its deadline: its job has failed, the thread goes on and keeps its slot."""

    name: ClassVar[str] = "thread.timed_out"
    level: ClassVar[str] = "warning"
    job_id: UUID
    tenant_id: str
    attempt: int
    correlation_id: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class SettleGivenUp:
    """Outcomes could not be reported for so long that their leases have ended; the jobs run again."""

    name: ClassVar[str] = "settle.given_up"
    level: ClassVar[str] = "error"
    count: int


@dataclass(frozen=True, slots=True)
class BackendFailed:
    """A call failed and is tried again; failures_in_a_row counts from 1."""

    name: ClassVar[str] = "backend.failed"
    call: str
    error: Exception
    failures_in_a_row: int

    @property
    def level(self) -> str:
        """The first one is news; so is every tenth, lest it be forgotten."""
        return "warning" if self.failures_in_a_row % 10 == 1 else "debug"


@dataclass(frozen=True, slots=True)
class LoopLagged:
    """The handlers' event loop did not answer for that long: a handler blocks it."""

    name: ClassVar[str] = "loop.lagged"
    level: ClassVar[str] = "warning"
    lag_s: float


def silent(_event: Event) -> None:
    """Tell nobody."""
