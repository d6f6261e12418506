"""The gauges of the whole queue: what is there once, however many processes there are.

One process measures them, the reaper that leads; so sums over all processes are right, and when leadership moves its page shows them no
more. The API's own port shows them to people by looking itself, which Prometheus does not scrape.
"""

from collections import Counter as Tally
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Gauge

from jobqueue.telemetry import events
from jobqueue.telemetry.labels import LabelGuard


class WholeQueue:
    """A registry of its own, shown only where and while it is true."""

    def __init__(self, tenant: LabelGuard, queue: LabelGuard) -> None:
        self._tenant = tenant
        self._queue = queue
        self.is_shown: Callable[[], bool] = lambda: False
        self._define()

    def forget(self) -> None:
        """Show nothing of what was measured so far: another process measures from now on, or this one anew."""
        self._define()

    def names(self) -> set[str]:
        """Name the families shown now."""
        return {metric.name for metric in self.registry.collect()}

    def _define(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._depth = Gauge("job_queue_depth", "Jobs that are due and wait for a worker.", ["tenant_id"], registry=registry)
        self._age = Gauge("queue_oldest_ready_age_seconds", "For how long the oldest due job has been due.", ["queue"], registry=registry)
        self._workers = Gauge("workers", "Live workers.", ["state"], registry=registry)
        self._jobs = Gauge("jobs", "Jobs kept.", ["status"], registry=registry)
        self._database: _DatabaseGauges | None = None

    def set_queues(self, event: events.QueuesMeasured) -> None:
        """Set job_queue_depth, queue_oldest_ready_age_seconds and jobs; what is not named any more is 0."""
        depths: Tally[str] = Tally()
        for tenant_id, depth in event.depth_by_tenant.items():
            depths[self._tenant(tenant_id)] += depth
        ages_s: dict[str, float] = {}
        for queue, age_s in event.oldest_ready_age_s_by_queue.items():
            label = self._queue(queue)
            ages_s[label] = max(age_s, ages_s.get(label, 0.0))
        _set_all(self._depth, depths)
        _set_all(self._age, ages_s)
        _set_all(self._jobs, event.count_by_status)

    def set_workers(self, event: events.WorkersMeasured) -> None:
        """Set workers; a state not named any more is 0."""
        _set_all(self._workers, event.count_by_state)

    def set_database(self, event: events.DatabaseMeasured) -> None:
        """Set the database's gauges; before the first look there are none."""
        if self._database is None:
            self._database = _DatabaseGauges(self.registry)
        self._database.set(event)


class _DatabaseGauges:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._oldest_transaction = Gauge(
            "database_oldest_transaction_seconds", "Age of the oldest open transaction, for which vacuum waits.", registry=registry
        )
        self._notify_queue = Gauge("database_notify_queue_ratio", "How full NOTIFY's queue is; 1 fails commits.", registry=registry)
        self._table_bytes = Gauge("database_table_bytes", "Size of our tables.", registry=registry)
        self._index_bytes = Gauge("database_index_bytes", "Size of their indexes.", registry=registry)
        self._dead_rows = Gauge("database_dead_rows", "Rows vacuum has not cleaned up.", ["table"], registry=registry)
        self._connections = Gauge("database_connections", "Connections of all clients of the server.", registry=registry)
        self._connections_max = Gauge("database_connections_max", "Connections the server takes.", registry=registry)

    def set(self, event: events.DatabaseMeasured) -> None:
        self._oldest_transaction.set(event.oldest_transaction_s)
        self._notify_queue.set(event.notify_queue_ratio)
        self._table_bytes.set(event.table_bytes)
        self._index_bytes.set(event.index_bytes)
        self._connections.set(event.connections)
        self._connections_max.set(event.connections_max)
        for table, rows in event.dead_rows_by_table.items():
            self._dead_rows.labels(table).set(rows)


def _set_all(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Set a gauge of one label to exactly these values."""
    for metric in gauge.collect():
        for sample in metric.samples:
            value = next(iter(sample.labels.values()))
            if value not in values:
                gauge.labels(value).set(0)
    for value, number in values.items():
        gauge.labels(value).set(number)
