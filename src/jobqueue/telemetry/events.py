"""What happened, as typed facts, and the hub that hands them on.

An event is emitted once, where the fact became true, after its commit. Fields are ids, counts and durations (`_s`); never payloads, keys
or tokens. Events stand for batches, so the hot path emits one for many jobs.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import structlog


class Event(Protocol):
    """Any fact with a name, `noun.past_verb`. Other floors define their own; those below concern more than one of them."""

    @property
    def name(self) -> str:
        """Name the fact."""
        ...


Given = TypeVar("Given", bound=Event)
Subscriber = Callable[[Any], None]


class Telemetry:
    """Hand each event to the subscribers of its type, at once and in the order they subscribed.

    emit may be called from any thread. A subscriber that raises is logged and skipped: what it would tell is committed already, and the
    caller must not fail for it.
    """

    def __init__(self) -> None:
        self._subscribers: dict[type, tuple[Subscriber, ...]] = {}
        self._of_all: tuple[Subscriber, ...] = ()
        self._change = threading.Lock()

    def subscribe(self, event_type: type[Given], subscriber: Callable[[Given], None]) -> None:
        """Have the subscriber called with every event of exactly this type. It must not block."""
        with self._change:
            self._subscribers[event_type] = (*self._subscribers.get(event_type, ()), subscriber)

    def subscribe_all(self, subscriber: Callable[[Event], None]) -> None:
        """Have the subscriber called with every event, after the subscribers of its type."""
        with self._change:
            self._of_all = (*self._of_all, subscriber)

    def emit(self, event: Event) -> None:
        """Tell a fact. Never raises."""
        for subscriber in (*self._subscribers.get(type(event), ()), *self._of_all):
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - the one site: the fact is committed, telling it must not fail its caller
                structlog.get_logger("jobqueue.telemetry").exception("subscriber.failed", told=event.name)


@dataclass(frozen=True, slots=True)
class JobsSubmitted:
    """Jobs were committed."""

    name: ClassVar[str] = "job.submitted"
    tenant_id: str
    priority: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class JobsCompleted:
    """Jobs of one tenant ended in one final status; durations_s holds how long each one that had started ran."""

    name: ClassVar[str] = "job.completed"
    tenant_id: str
    status: str
    count: int
    durations_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class JobsRetried:
    """Attempts failed and their jobs wait for the next one, or an operator sent jobs back."""

    name: ClassVar[str] = "job.retried"
    tenant_id: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class LeasesAcquired:
    """A worker was given jobs; waits_s holds, per queue, how long each was ready before."""

    name: ClassVar[str] = "lease.acquired"
    worker_id: str
    count: int
    waits_s: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """A lease was taken back. status: what its job became; is_overdue: its holder lived but the job ran past its deadline."""

    name: ClassVar[str] = "job.lease_expired"
    tenant_id: str
    job_id: str
    worker_id: str
    attempt: int
    status: str
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class StaleWritesRefused:
    """Writes with a token that is no longer the job's were refused."""

    name: ClassVar[str] = "stale_write.refused"
    count: int = 1


@dataclass(frozen=True, slots=True)
class RequestServed:
    """A request was answered. endpoint is the route's template, never the path."""

    name: ClassVar[str] = "request.served"
    method: str
    endpoint: str
    status: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class DatabaseMeasured:
    """The database was looked at. connections: of all its clients together, of connections_max that the server takes."""

    name: ClassVar[str] = "database.measured"
    oldest_transaction_s: float
    notify_queue_ratio: float
    table_bytes: int
    index_bytes: int
    dead_rows_by_table: Mapping[str, int]
    connections: int = 0
    connections_max: int = 0


@dataclass(frozen=True, slots=True)
class QueuesMeasured:
    """The jobs were counted: per tenant how many are due, per queue how long its oldest due one has been, per status how many are kept.

    A tenant that shares OTHER in the counting is counted under that name.
    """

    name: ClassVar[str] = "queue.measured"
    depth_by_tenant: Mapping[str, int]
    oldest_ready_age_s_by_queue: Mapping[str, float]
    count_by_status: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedMeasured:
    """The live feed was looked at; lag_s: for how long its oldest event that cannot be told yet has been known."""

    name: ClassVar[str] = "feed.measured"
    lag_s: float


@dataclass(frozen=True, slots=True)
class StreamsMeasured:
    """The live streams of this process were counted."""

    name: ClassVar[str] = "stream.measured"
    count: int


@dataclass(frozen=True, slots=True)
class WebhooksTried:
    """Deliveries of one tenant were tried with one outcome: delivered, retried, failed.

    delays_s: of those delivered at their first try, how long after their event that was.
    """

    name: ClassVar[str] = "webhook.tried"
    tenant_id: str
    outcome: str
    count: int
    delays_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class WebhooksMeasured:
    """The deliveries that are due were looked at; lag_s: for how long the oldest has been, of endpoints that take what they are sent."""

    name: ClassVar[str] = "webhook.measured"
    lag_s: float


@dataclass(frozen=True, slots=True)
class WorkersMeasured:
    """The live workers were counted by state."""

    name: ClassVar[str] = "worker.measured"
    count_by_state: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LoopMeasured:
    """A timer of this process's event loop fired that much later than asked."""

    name: ClassVar[str] = "loop.measured"
    lag_s: float


@dataclass(frozen=True, slots=True)
class ConnectionWaited:
    """Somebody had to wait for a connection of this process's pool, whether one came or not."""

    name: ClassVar[str] = "connection.waited"
    wait_s: float


@dataclass(frozen=True, slots=True)
class SubmitsGathered:
    """Submits of this process were stored by one statement."""

    name: ClassVar[str] = "submit.gathered"
    jobs: int


@dataclass(frozen=True, slots=True)
class ServiceFaulted:
    """A periodic service's tick failed; it is tried again."""

    name: ClassVar[str] = "service.faulted"
    level: ClassVar[str] = "warning"
    service: str
    error: Exception
