"""Metrics in the Prometheus text format, under the names and labels the contract fixes.

Counts are added per batch, not per job. At most LABEL_VALUES_MAX distinct tenants, workers and queues get a series of their own, the
first ones seen; all others share the value `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric

from jobqueue.domain.lifecycle import FINAL
from jobqueue.telemetry import events
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.labels import LABEL_VALUES_MAX, LabelGuard
from jobqueue.telemetry.whole import WholeQueue

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600)
RUN_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)
LAG_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """All series of one process. Feed it by subscribing it to the telemetry; read it with render()."""

    def __init__(self, *, values_max: int = LABEL_VALUES_MAX) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._tenant = LabelGuard(values_max)
        self._worker = LabelGuard(values_max)
        self._queue = LabelGuard(values_max)  # tenants choose the names of queues
        self._at_scrape: list[Callable[[], None]] = []
        self.whole = WholeQueue(self._tenant, self._queue)
        self.leads_webhooks: Callable[[], bool] = lambda: False
        self._define_jobs()
        self._define_requests()
        self._define_process()

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

    def _define_requests(self) -> None:
        registry = self.registry
        self._requests = Counter("api_requests_total", "Requests answered.", ["method", "endpoint", "status"], registry=registry)
        self._latency = Histogram(
            "api_request_latency_seconds",
            "Time to answer, without what a caller asked to wait for.",
            ["method", "endpoint"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._batch = Histogram("submit_batch_jobs", "Jobs stored by one statement.", buckets=BATCH_BUCKETS, registry=registry)
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
        self._webhooks = CollectorRegistry()  # shown by the one that leads them
        said = "How long the oldest due delivery has been, of endpoints that take what they are sent."
        self._webhook_lag = Gauge("webhook_lag_seconds", said, registry=self._webhooks)

    def _define_process(self) -> None:
        registry = self.registry
        self._lag = Histogram("event_loop_lag_seconds", "How late timers of the event loop are.", buckets=LAG_BUCKETS_S, registry=registry)
        self._faults = Counter("service_faults_total", "Failed ticks of periodic services.", ["service"], registry=registry)
        self._pool_wait = Histogram(
            "database_pool_wait_seconds",
            "Waits for a connection of the pool while none was free.",
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._pool = Gauge("database_pool_connections", "Connections of this process's pool.", ["state"], registry=registry)
        self._slots = Gauge("worker_slots", "Jobs this worker runs, and could run beside them.", ["state"], registry=registry)

    def subscribe_to(self, telemetry: Telemetry) -> None:
        """Count what the telemetry tells."""
        telemetry.subscribe(events.JobsSubmitted, self.count_submitted)
        telemetry.subscribe(events.JobsCompleted, self.count_completed)
        telemetry.subscribe(events.JobsRetried, self.count_retried)
        telemetry.subscribe(events.LeasesAcquired, self.count_acquired)
        telemetry.subscribe(events.LeaseExpired, self.count_expired)
        telemetry.subscribe(events.StaleWritesRefused, self.count_stale)
        telemetry.subscribe(events.RequestServed, self.count_request)
        telemetry.subscribe(events.QueuesMeasured, lambda event: self.whole.set_queues(event))
        telemetry.subscribe(events.DatabaseMeasured, lambda event: self.whole.set_database(event))
        telemetry.subscribe(events.WorkersMeasured, lambda event: self.whole.set_workers(event))
        telemetry.subscribe(events.FeedMeasured, self.set_feed)
        telemetry.subscribe(events.StreamsMeasured, self.set_streams)
        telemetry.subscribe(events.WebhooksTried, self.count_webhooks)
        telemetry.subscribe(events.WebhooksMeasured, lambda event: self._webhook_lag.set(event.lag_s))
        telemetry.subscribe(events.LoopMeasured, lambda event: self._lag.observe(event.lag_s))
        telemetry.subscribe(events.ConnectionWaited, lambda event: self._pool_wait.observe(event.wait_s))
        telemetry.subscribe(events.SubmitsGathered, lambda event: self._batch.observe(event.jobs))
        telemetry.subscribe(events.ServiceFaulted, lambda event: self._faults.labels(event.service).inc())

    def watch_pool(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Show a pool's connections, in use and idle, as they are when somebody looks."""

        def look() -> None:
            used, idle = connections()
            self._pool.labels("used").set(used)
            self._pool.labels("idle").set(idle)

        self._at_scrape.append(look)

    def watch_slots(self, slots: Callable[[], tuple[int, int]]) -> None:
        """Show a worker's slots, busy and free, as they are when somebody looks."""

        def look() -> None:
            busy, free = slots()
            self._slots.labels("busy").set(busy)
            self._slots.labels("free").set(free)

        self._at_scrape.append(look)

    def watch_leader(self, is_leader: Callable[[], bool]) -> None:
        """Show whether this process leads, and the whole queue while it does."""
        self.whole.is_shown = is_leader
        leading = Gauge("reaper_is_leader", "1 while this reaper leads.", registry=self.registry)
        leading.set_function(lambda: float(is_leader()))

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
        """Add to lease_expired_total, and to jobs_completed_total when that was the job's end."""
        tenant = self._tenant(event.tenant_id)
        self._expired.labels(tenant).inc()
        if event.status in FINAL:
            self._completed.labels(tenant, event.status).inc()

    def count_stale(self, event: events.StaleWritesRefused) -> None:
        """Add to stale_writes_refused_total."""
        self._stale.inc(event.count)

    def count_request(self, event: events.RequestServed) -> None:
        """Add to api_requests_total and api_request_latency_seconds."""
        self._requests.labels(event.method, event.endpoint, str(event.status)).inc()
        self._latency.labels(event.method, event.endpoint).observe(event.duration_s)

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

    def render(self, tenant_id: str | None = None, *, is_whole: bool | None = None) -> bytes:
        """Write all series as text (CONTENT_TYPE); with a tenant, only its own. A tenant that shares `other` has none.

        is_whole: with the gauges of the whole queue; None: where this process is their source.
        """
        for look in self._at_scrape:
            look()
        registries = [self.registry]
        if self.whole.is_shown() if is_whole is None else is_whole:
            registries.append(self.whole.registry)
        if self.leads_webhooks():
            registries.append(self._webhooks)
        if tenant_id is not None:
            known = tenant_id if tenant_id in self._tenant else None
            registries = [_OfTenant(registry, known) for registry in registries]
        return b"".join(map(generate_latest, registries))


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
