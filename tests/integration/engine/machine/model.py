"""What the queue should be, as a dict of jobs: a second, simple telling of the rules, which shares no code with the product's.

Time is an offset in seconds from the present that only periodic work is told of; delays are so far apart that the run's own seconds
do not matter. An act changes the model only after the real one was done, and says what the real one should have answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

WAITING = {"scheduled", "queued", "failed"}
HELD = {"leased", "running"}
ENDED = {"succeeded", "cancelled", "expired", "dlq"}
CRASHES_MAX = 3


@dataclass
class Hold:
    """A lease as its holder should see it."""

    token: UUID
    is_reported: bool = False
    is_started: bool = False
    is_cancel_asked: bool = False
    is_over: bool = False


@dataclass
class Job:
    """One job. due_s, start_by_s: offsets; None: none. attempts_max is read at claim, like all of it."""

    job_id: UUID
    tenant: int
    queue: str
    key: str | None
    attempts_max: int
    due_s: float | None
    start_by_s: float | None
    status: str = "queued"
    attempt: int = 0
    crashes: int = 0
    hold: Hold | None = None
    history: list[str] = field(default_factory=lambda: ["submitted"])
    is_touched: bool = True

    def tell(self, *events: str) -> None:
        """Add to the history."""
        self.history += events
        self.is_touched = True

    # ------------------------------------------------------------------------------------------- out and home

    def claimed(self, token: UUID) -> None:
        self.status, self.attempt, self.hold, self.is_touched = "leased", self.attempt + 1, Hold(token), True

    def _report(self, *, starts: bool) -> None:
        assert self.hold is not None
        if not self.hold.is_reported:
            self.tell("leased")
        if starts and not self.hold.is_started:
            self.tell("started")

    def beaten(self, *, starts: bool) -> str:
        """A beat with the current token. Answers what it should be told."""
        assert self.hold is not None
        self._report(starts=starts)
        self.hold.is_reported = True
        self.hold.is_started |= starts
        self.hold.is_over = False
        self.status = "running" if self.hold.is_started else "leased"
        return "cancel_requested" if self.hold.is_cancel_asked else "ok"

    def settled(self, kind: str, *, ran: bool, delay_s: float, is_final: bool, is_crash: bool) -> str:
        """A settle with the current token. Answers the status that should follow."""
        assert self.hold is not None
        crashes = self.crashes + (kind == "failed" and is_crash)
        match kind:
            case "succeeded" | "cancelled":
                following, attempt = kind, self.attempt
            case "released":
                following, attempt = "queued", self.attempt - 1
            case "snoozed":
                following, attempt = "scheduled", self.attempt - 1
            case _:
                is_buried = is_final or self.attempt >= self.attempts_max or (is_crash and crashes >= CRASHES_MAX)
                following, attempt = "dlq" if is_buried else "failed", self.attempt
        self._end(kind, following, attempt=attempt, crashes=crashes, delay_s=delay_s, ran=ran)
        return self.status

    def lost(self) -> str:
        """A recovery of the lease. Answers the status that should follow."""
        assert self.hold is not None
        if self.hold.is_started:
            crashes = self.crashes + 1
            is_buried = crashes >= CRASHES_MAX or self.attempt >= self.attempts_max
            self._end("lease_expired", "dlq" if is_buried else "queued", attempt=self.attempt, crashes=crashes)
        else:
            self._end("lease_expired", "queued", attempt=self.attempt - 1, crashes=max(self.crashes, 1))
        return self.status

    def _end(self, kind: str, following: str, *, attempt: int, crashes: int, delay_s: float = 0.0, ran: bool = False) -> None:
        assert self.hold is not None
        is_turned = self.hold.is_cancel_asked and following not in ("succeeded", "cancelled")
        if is_turned:
            following = "cancelled"
        self._report(starts=ran)
        self.tell(kind, *([following] if is_turned or following in ("queued", "dlq") else []))
        began = ran or self.hold.is_started
        self.status, self.crashes = following, crashes
        self.attempt = attempt if following in ("queued", "scheduled", "failed") else self.attempt
        self.due_s = delay_s if following in ("failed", "scheduled") else None
        if following != "queued" or began:
            self.start_by_s = None
        self.hold = None

    # ------------------------------------------------------------------------------------------ by hand, by time

    def cancel(self) -> str:
        """Answers the status, or a refusal."""
        if self.status in ("succeeded", "dlq", "expired"):
            return f"wrong_state {self.status}"
        if self.hold is not None:
            if not self.hold.is_cancel_asked:
                self._report(starts=False)
                self.tell("cancel_requested")
                self.hold.is_reported = self.hold.is_cancel_asked = True
        elif self.status != "cancelled":
            self.status = "cancelled"
            self.tell("cancelled")
        return self.status

    def retry(self, *, is_reset: bool) -> str:
        """Answers queued, or a refusal."""
        if self.status not in ENDED | {"failed"}:
            return f"wrong_state {self.status}"
        if not is_reset and self.status != "failed" and self.attempt >= self.attempts_max:
            return "attempts_exhausted"
        self.crashes = 0 if is_reset or self.status == "succeeded" else min(self.crashes, 1)
        self.attempt = 0 if is_reset else self.attempt
        self.status, self.due_s, self.start_by_s = "queued", None, None
        self.tell("retried", "queued")
        return "queued"

    def force_success(self) -> str:
        """Answers succeeded, or a refusal."""
        if self.status not in ("dlq", "failed"):
            return f"wrong_state {self.status}"
        self.status = "succeeded"
        self.tell("force_succeeded")
        return "succeeded"

    def patch(self, *, attempts_max: int | None, is_timed: bool, due_s: float | None) -> str:
        """Answers updated, or a refusal."""
        if self.status not in WAITING:
            return f"wrong_state {self.status}"
        if attempts_max is not None and attempts_max <= self.attempt:
            return "invalid_fields"
        was = self.status
        self.attempts_max = attempts_max or self.attempts_max
        if is_timed:
            self.due_s = due_s
        if self.due_s is None:
            self.status = "queued"
        elif was != "failed":
            self.status = "scheduled"
        self.tell("updated", *(["queued"] if self.status == "queued" and was != "queued" else []))
        return "updated"

    def promoted(self) -> None:
        self.status, self.due_s = "queued", None
        self.tell("queued")

    def expired(self) -> None:
        self.status = "expired"
        self.tell("expired")


@dataclass
class Limits:
    """What a tenant may run at once; 0: no limit."""

    tenant: int = 0
    queues: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)


@dataclass
class Model:
    """All jobs, who holds which idempotency key, and every tenant's limits."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    keys: dict[tuple[int, str], UUID] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    tokens: set[UUID] = field(default_factory=set)
    offset_s: float = 0.0

    def running(self, tenant: int, *, queue: str | None = None, key: str | None = None) -> int:
        """Count what holds a lease."""
        return sum(
            job.status in HELD and job.tenant == tenant and queue in (None, job.queue) and key in (None, job.key)
            for job in self.jobs.values()
        )

    def is_claimable(self, job: Job) -> bool:
        """Whether a claim may bring it now, limits aside."""
        in_time = job.start_by_s is None or job.start_by_s > 0
        return job.status == "queued" and in_time and job.queue not in self.limits[job.tenant].paused

    def over_limit(self, job: Job) -> Iterator[str]:
        """Name the limits that a claim of this job broke."""
        limits = self.limits[job.tenant]
        if limits.tenant and self.running(job.tenant) > limits.tenant:
            yield "tenant"
        if (cap := limits.queues.get(job.queue)) and self.running(job.tenant, queue=job.queue) > cap:
            yield "queue"
        if job.key is not None and self.running(job.tenant, queue=job.queue, key=job.key) > limits.keys.get(job.queue, 1):
            yield "key"

    def has_room(self, job: Job) -> bool:
        """Whether neither its tenant nor its queue is at a limit."""
        limits = self.limits[job.tenant]
        cap = limits.queues.get(job.queue)
        return (not limits.tenant or self.running(job.tenant) < limits.tenant) and (
            not cap or self.running(job.tenant, queue=job.queue) < cap
        )

    def due(self) -> list[Job]:
        """What a promotion should move."""
        return [job for job in self.jobs.values() if job.status in ("scheduled", "failed") and (job.due_s or 0) <= self.offset_s]

    def too_late(self) -> list[Job]:
        """What an expiry should end."""
        return [
            job
            for job in self.jobs.values()
            if job.status in ("queued", "scheduled") and job.start_by_s is not None and job.start_by_s <= self.offset_s
        ]
