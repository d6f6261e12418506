"""Metrics in the Prometheus text format, under the names and labels the contract fixes.

Counts are added per batch, not per job. At most LABEL_VALUES_MAX distinct tenants, workers and queues get a series of their own, the
first ones seen; all others share the value `other`.
"""

import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric

from jobqueue.telemetry import events
from jobqueue.telemetry.events import Telemetry

LABEL_VALUES_MAX: Final = 200
OTHER: Final = "other"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600)
RUN_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)


class LabelGuard:
    """Bound the distinct values of one label."""

    def __init__(self, values_max: int = LABEL_VALUES_MAX) -> None:
        self._values_max = values_max
        self._known: set[str] = set()
        self._change = threading.Lock()

    def __call__(self, value: str) -> str:
        """Give the value itself if it has or can have a series, else OTHER."""
        if value in self._known:
            return value
        with self._change:
            if value == OTHER or len(self._known) >= self._values_max:
                return OTHER
            self._known.add(value)
            return value

    def __contains__(self, value: str) -> bool:
        return value in self._known


class Metrics:
    """All series of one process. Feed it by subscribing it to the telemetry; read it with render()."""

    def __init__(self, *, values_max: int = LABEL_VALUES_MAX) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._tenant = LabelGuard(values_max)
        self._worker = LabelGuard(values_max)
        self._queue = LabelGuard(values_max)  # tenants choose the names of queues
        self._define_jobs()
        self._define_requests_and_gauges()

    def _define_jobs(self) -> None:
        registry = self.registry
        self._submitted = Counter("jobs_submitted_total", "Jobs committed.", ["tenant_id", "priority"], registry=registry)
        self._completed = Counter("jobs_completed_total", "Jobs that ended.", ["tenant_id", "status"], registry=registry)
        self._duration = Histogram(
            "job_duration_seconds", "How long jobs ran.", ["tenant_id", "status"], buckets=RUN_BUCKETS_S, registry=registry
        )
        self._wait = Histogram(
            "job_wait_seconds", "How long jobs were ready before a worker took them.", ["queue"], buckets=WAIT_BUCKETS_S, registry=registry
        )
        self._retries = Counter("job_retries_total", "Jobs sent into another attempt.", ["tenant_id"], registry=registry)
        self._expired = Counter("lease_expired_total", "Leases that ran out.", ["tenant_id"], registry=registry)
        self._acquired = Counter("lease_acquired_total", "Jobs given to workers.", ["worker_id"], registry=registry)
        self._stale = Counter("stale_writes_refused_total", "Writes refused because the lease was lost.", registry=registry)

    def _define_requests_and_gauges(self) -> None:
        registry = self.registry
        self._requests = Counter("api_requests_total", "Requests answered.", ["method", "endpoint", "status"], registry=registry)
        self._latency = Histogram(
            "api_request_latency_seconds", "Time to answer.", ["method", "endpoint"], buckets=REQUEST_BUCKETS_S, registry=registry
        )
        self._depth = Gauge("job_queue_depth", "Jobs that wait.", ["tenant_id"], registry=registry)
        self._age = Gauge("queue_oldest_ready_age_seconds", "Age of the oldest ready job.", ["queue"], registry=registry)
        self._workers = Gauge("workers", "Live workers.", ["state"], registry=registry)
        self._define_database()
        self._feed_lag = Gauge("feed_lag_seconds", "How long the live feed's oldest untold event has been known.", registry=registry)
        self._streams = Gauge("live_streams", "Live streams open in this process.", registry=registry)
        self._define_webhooks()

    def _define_webhooks(self) -> None:
        registry = self.registry
        self._tried = Counter("webhook_deliveries_total", "Tries of deliveries.", ["tenant_id", "outcome"], registry=registry)
        self._told = Histogram(
            "webhook_delivery_seconds",
            "From an event to its delivery, of those delivered at the first try.",
            buckets=WAIT_BUCKETS_S,
            registry=registry,
        )
        self._webhook_lag = Gauge(
            "webhook_lag_seconds",
            "How long the oldest due delivery has been, of endpoints that take what they are sent.",
            registry=registry,
        )

    def _define_database(self) -> None:
        registry = self.registry
        self._oldest_transaction = Gauge(
            "database_oldest_transaction_seconds", "Age of the oldest open transaction, for which vacuum waits.", registry=registry
        )
        self._notify_queue = Gauge("database_notify_queue_ratio", "How full NOTIFY's queue is; 1 fails commits.", registry=registry)
        self._table_bytes = Gauge("database_table_bytes", "Size of our tables.", registry=registry)
        self._index_bytes = Gauge("database_index_bytes", "Size of their indexes.", registry=registry)
        self._dead_rows = Gauge("database_dead_rows", "Rows vacuum has not cleaned up.", ["table"], registry=registry)

    def subscribe_to(self, telemetry: Telemetry) -> None:
        """Count what the telemetry tells."""
        telemetry.subscribe(events.JobsSubmitted, self.count_submitted)
        telemetry.subscribe(events.JobsCompleted, self.count_completed)
        telemetry.subscribe(events.JobsRetried, self.count_retried)
        telemetry.subscribe(events.LeasesAcquired, self.count_acquired)
        telemetry.subscribe(events.LeaseExpired, self.count_expired)
        telemetry.subscribe(events.StaleWritesRefused, self.count_stale)
        telemetry.subscribe(events.RequestServed, self.count_request)
        telemetry.subscribe(events.QueuesMeasured, self.set_queues)
        telemetry.subscribe(events.DatabaseMeasured, self.set_database)
        telemetry.subscribe(events.WorkersMeasured, self.set_workers)
        telemetry.subscribe(events.FeedMeasured, self.set_feed)
        telemetry.subscribe(events.StreamsMeasured, self.set_streams)
        telemetry.subscribe(events.WebhooksTried, self.count_webhooks)
        telemetry.subscribe(events.WebhooksMeasured, self.set_webhooks)

    def count_submitted(self, event: events.JobsSubmitted) -> None:
        """Add to jobs_submitted_total."""
        self._submitted.labels(self._tenant(event.tenant_id), event.priority).inc(event.count)

    def count_completed(self, event: events.JobsCompleted) -> None:
        """Add to jobs_completed_total and job_duration_seconds."""
        labels = (self._tenant(event.tenant_id), event.status)
        self._completed.labels(*labels).inc(event.count)
        observe_all(self._duration.labels(*labels), event.durations_s)

    def count_retried(self, event: events.JobsRetried) -> None:
        """Add to job_retries_total."""
        self._retries.labels(self._tenant(event.tenant_id)).inc(event.count)

    def count_acquired(self, event: events.LeasesAcquired) -> None:
        """Add to lease_acquired_total and job_wait_seconds."""
        self._acquired.labels(self._worker(event.worker_id)).inc(event.count)
        for queue, waits_s in event.waits_s.items():
            observe_all(self._wait.labels(self._queue(queue)), waits_s)

    def count_expired(self, event: events.LeaseExpired) -> None:
        """Add to lease_expired_total."""
        self._expired.labels(self._tenant(event.tenant_id)).inc()

    def count_stale(self, event: events.StaleWritesRefused) -> None:
        """Add to stale_writes_refused_total."""
        self._stale.inc(event.count)

    def count_request(self, event: events.RequestServed) -> None:
        """Add to api_requests_total and api_request_latency_seconds."""
        self._requests.labels(event.method, event.endpoint, str(event.status)).inc()
        self._latency.labels(event.method, event.endpoint).observe(event.duration_s)

    def set_database(self, event: events.DatabaseMeasured) -> None:
        """Set the database's gauges."""
        self._oldest_transaction.set(event.oldest_transaction_s)
        self._notify_queue.set(event.notify_queue_ratio)
        self._table_bytes.set(event.table_bytes)
        self._index_bytes.set(event.index_bytes)
        for table, rows in event.dead_rows_by_table.items():
            self._dead_rows.labels(table).set(rows)

    def set_queues(self, event: events.QueuesMeasured) -> None:
        """Set job_queue_depth and queue_oldest_ready_age_seconds; what is not named any more is 0."""
        depths: Tally[str] = Tally()
        for tenant_id, depth in event.depth_by_tenant.items():
            depths[self._tenant(tenant_id)] += depth
        ages_s: dict[str, float] = {}
        for queue, age_s in event.oldest_ready_age_s_by_queue.items():
            label = self._queue(queue)
            ages_s[label] = max(age_s, ages_s.get(label, 0.0))
        _set_all(self._depth, depths)
        _set_all(self._age, ages_s)

    def set_workers(self, event: events.WorkersMeasured) -> None:
        """Set workers; a state not named any more is 0."""
        _set_all(self._workers, event.count_by_state)

    def set_feed(self, event: events.FeedMeasured) -> None:
        """Set feed_lag_seconds."""
        self._feed_lag.set(event.lag_s)

    def set_streams(self, event: events.StreamsMeasured) -> None:
        """Set live_streams."""
        self._streams.set(event.count)

    def count_webhooks(self, event: events.WebhooksTried) -> None:
        """Add to webhook_deliveries_total and webhook_delivery_seconds."""
        self._tried.labels(self._tenant(event.tenant_id), event.outcome).inc(event.count)
        observe_all(self._told, event.delays_s)

    def set_webhooks(self, event: events.WebhooksMeasured) -> None:
        """Set webhook_lag_seconds."""
        self._webhook_lag.set(event.lag_s)

    def render(self, tenant_id: str | None = None) -> bytes:
        """Write all series as text (CONTENT_TYPE); with a tenant, only its own. A tenant that shares `other` has none."""
        if tenant_id is None:
            return generate_latest(self.registry)
        return generate_latest(_OfTenant(self.registry, tenant_id if tenant_id in self._tenant else None))


class _OfTenant(CollectorRegistry):
    """A view of a registry that shows the series of one tenant."""

    def __init__(self, registry: CollectorRegistry, tenant_id: str | None) -> None:
        super().__init__()
        self._all = registry
        self._tenant_id = tenant_id

    def collect(self) -> Iterator[Metric]:
        for metric in self._all.collect():
            samples = [
                sample for sample in metric.samples if self._tenant_id is not None and sample.labels.get("tenant_id") == self._tenant_id
            ]
            if samples:
                own = Metric(metric.name, metric.documentation, metric.type, metric.unit)
                own.samples = samples
                yield own


def _set_all(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Set a gauge of one label to exactly these values."""
    for metric in gauge.collect():
        for sample in metric.samples:
            value = next(iter(sample.labels.values()))
            if value not in values:
                gauge.labels(value).set(0)
    for value, number in values.items():
        gauge.labels(value).set(number)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe a batch: one addition a bucket instead of two locked ones a value, which cost a worker a tenth of its time.

    The package has no public call for this; a test holds it to what `observe` does.
    """
    counts: dict[int, int] = {}
    for value in values:
        bucket = bisect_left(histogram._upper_bounds, value)
        counts[bucket] = counts.get(bucket, 0) + 1
    for bucket, count in counts.items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))
