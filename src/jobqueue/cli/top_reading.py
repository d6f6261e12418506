"""What `top` shows, read over the API. Figures of queues each time, what is dearer or changes slowly every few looks."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.job_views import as_json
from jobqueue.domain.errors import AccessRefused, NotFound

if TYPE_CHECKING:
    from jobqueue.client.blocking_client import Client

SLOW_S: Final = 10.0
PAST_LOOKS: Final = 120
FAILURES_READ: Final = 200
FAILURES_SHOWN: Final = 8


@dataclass(slots=True)
class Failing:
    """Jobs of one type that failed in the same way lately; waiting ones will be tried again."""

    job_type: str
    error: str
    buried: int = 0
    waiting: int = 0
    last_at: datetime | None = None
    example: str = ""


@dataclass(slots=True)
class Reading:
    """One look. rates: jobs submitted and ended a second, at each look so far. trouble: why the figures are not newer."""

    at: datetime
    by_status: dict[str, int]
    queues: dict[str, Any]
    paused: frozenset[str] = frozenset()
    workers: list[dict[str, Any]] | None = None
    failing: list[Failing] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    completions: list[float] = field(default_factory=list)
    tenant: str = ""
    trouble: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the figures as plain data."""
        return {
            "at": self.at.isoformat(),
            "tenant": self.tenant,
            "by_status": self.by_status,
            "queues": {name: as_json(figures) for name, figures in self.queues.items()},
            "paused": sorted(self.paused),
            "workers": self.workers,
            "failing": [
                {"job_type": each.job_type, "error": each.error, "buried": each.buried, "waiting": each.waiting, "example": each.example}
                for each in self.failing
            ],
        }


class Reader:
    """Reads again and again, and keeps the past for the curves."""

    def __init__(self, client: "Client", *, now_s: Callable[[], float]) -> None:
        self._client = client
        self._now_s = now_s
        self._slow_at = float("-inf")
        self._paused: frozenset[str] = frozenset()
        self._workers: list[dict[str, Any]] | None = None
        self._failing: list[Failing] = []
        self._tenant = ""
        self._arrivals: deque[float] = deque(maxlen=PAST_LOOKS)
        self._completions: deque[float] = deque(maxlen=PAST_LOOKS)

    def read(self) -> Reading:
        """Look once. Raises JobQueueError."""
        stats = self._client.stats()
        queues = self._client.queue_stats().queues
        if self._now_s() - self._slow_at >= SLOW_S:
            self._read_slow()
            self._slow_at = self._now_s()
        self._arrivals.append(sum(figures.arrival_rate for figures in queues.values()))
        self._completions.append(sum(figures.completion_rate for figures in queues.values()))
        return Reading(
            at=datetime.now(UTC),
            by_status={str(status): number for status, number in stats.by_status.items()},
            queues=queues,
            paused=self._paused,
            workers=self._workers,
            failing=self._failing,
            arrivals=list(self._arrivals),
            completions=list(self._completions),
            tenant=self._tenant,
        )

    def _read_slow(self) -> None:
        if not self._tenant:
            self._tenant = self._client.me().tenant_id
        self._paused = frozenset(queue.name for queue in self._client.queues() if queue.paused)
        self._workers = self._read_workers()
        self._failing = group(self._client.page(status=["failed", "dlq"], page_size=FAILURES_READ).items)

    def _read_workers(self) -> list[dict[str, Any]] | None:
        """List the workers; None where the key may not see them, or the service does not say."""
        try:
            found: Any = self._client.call("GET", "/v1/workers")
        except (NotFound, AccessRefused):
            return None
        return list(found["items"] if isinstance(found, dict) else found)


def group(jobs: list[Any]) -> list[Failing]:
    """Put jobs together that failed in the same way, the most frequent first."""
    groups: dict[tuple[str, str], Failing] = {}
    for job in jobs:
        error = "unknown" if job.error is None else job.error.type
        found = groups.setdefault((job.job_type, error), Failing(job.job_type, error))
        found.buried += job.status == "dlq"
        found.waiting += job.status == "failed"
        if not found.example and job.error is not None:
            found.example = job.error.message
        at = job.finished_at or job.created_at
        found.last_at = at if found.last_at is None else max(found.last_at, at)
    return sorted(groups.values(), key=lambda each: -(each.buried + each.waiting))[:FAILURES_SHOWN]


def total(queues: dict[str, Any], name: str) -> float:
    """Add up one figure of all queues."""
    return float(sum(getattr(figures, name) for figures in queues.values()))
