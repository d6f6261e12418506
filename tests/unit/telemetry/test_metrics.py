"""Metrics: the contract's names and labels, right sums, bounded series, and one tenant's view."""

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from jobqueue.telemetry import events
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.labels import OTHER, LabelGuard
from jobqueue.telemetry.metrics import RUN_BUCKETS_S, Metrics, observe_all

CONTRACT = {
    "job_queue_depth": {"tenant_id"},
    "jobs_submitted_total": {"tenant_id", "priority"},
    "jobs_completed_total": {"tenant_id", "status"},
    "job_duration_seconds_count": {"tenant_id", "status"},
    "lease_expired_total": {"tenant_id"},
    "lease_acquired_total": {"worker_id"},
    "api_requests_total": {"method", "endpoint", "status"},
    "api_request_latency_seconds_count": {"method", "endpoint"},
    "job_wait_seconds_count": {"queue"},
    "queue_oldest_ready_age_seconds": {"queue"},
    "workers": {"state"},
    "job_retries_total": {"tenant_id"},
    "stale_writes_refused_total": set(),
}


OURS: dict[str, set[str]] = {
    **{f"database_{figure}": set() for figure in ("oldest_transaction_seconds", "notify_queue_ratio", "table_bytes", "index_bytes")},
    **{f"database_{figure}": set() for figure in ("connections", "connections_max", "pool_wait_seconds_count")},
    "database_dead_rows": {"table"},
    "database_pool_connections": {"state"},
    "event_loop_lag_seconds_count": set(),
    "feed_lag_seconds": set(),
    "jobs": {"status"},
    "live_streams": set(),
    "webhook_deliveries_total": {"tenant_id", "outcome"},
    "webhook_delivery_seconds_count": set(),
    "webhook_lag_seconds": set(),
    "reaper_is_leader": set(),
    "service_faults_total": {"service"},
    "submit_batch_jobs_count": set(),
    "worker_slots": {"state"},
}
"""Beyond the contract."""


def tell_everything(telemetry: Telemetry, tenant_id: str = "acme") -> None:
    telemetry.emit(events.JobsSubmitted(tenant_id, "high", 3))
    telemetry.emit(events.JobsCompleted(tenant_id, "succeeded", 3, [0.1, 0.2]))
    telemetry.emit(events.JobsRetried(tenant_id, 2))
    telemetry.emit(events.LeasesAcquired("w1", 3, {"default": [0.01, 0.02, 0.03]}))
    telemetry.emit(events.LeaseExpired(tenant_id, "job", "worker", 1, "queued", False))
    telemetry.emit(events.StaleWritesRefused(4))
    telemetry.emit(events.RequestServed("GET", "/v1/jobs/{id}", 200, 0.01))
    telemetry.emit(events.QueuesMeasured({tenant_id: 7}, {"default": 1.5}, {"queued": 7, "dlq": 1}))
    telemetry.emit(events.WorkersMeasured({"run": 2}))
    telemetry.emit(events.DatabaseMeasured(1.0, 0.0, 2, 3, {"ready": 4}))
    telemetry.emit(events.FeedMeasured(0.25))
    telemetry.emit(events.StreamsMeasured(5))
    telemetry.emit(events.WebhooksTried(tenant_id, "delivered", 2, [0.1, 0.2]))
    telemetry.emit(events.WebhooksMeasured(0.5))
    telemetry.emit(events.LoopMeasured(0.001))
    telemetry.emit(events.ConnectionWaited(0.2))
    telemetry.emit(events.SubmitsGathered(16))
    telemetry.emit(events.ServiceFaulted("folder", RuntimeError()))


def samples(metrics: Metrics, tenant_id: str | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render(tenant_id).decode())
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def fed(values_max: int = 200) -> tuple[Metrics, Telemetry]:
    metrics, telemetry = Metrics(values_max=values_max), Telemetry()
    metrics.subscribe_to(telemetry)
    metrics.watch_leader(lambda: True)
    metrics.leads_webhooks = lambda: True
    metrics.watch_pool(lambda: (3, 1))
    metrics.watch_slots(lambda: (5, 95))
    return metrics, telemetry


def test_names_and_labels_are_those_of_the_contract() -> None:
    metrics, telemetry = fed()
    tell_everything(telemetry)
    seen = {name: {label for label, _ in labels} for name, labels in samples(metrics) if not name.endswith(("_bucket", "_sum"))}
    assert seen == CONTRACT | OURS


def test_batches_are_added_up() -> None:
    metrics, telemetry = fed()
    for _ in range(2):
        tell_everything(telemetry)
    assert value(metrics, "jobs_submitted_total", tenant_id="acme", priority="high") == 6
    assert value(metrics, "jobs_completed_total", tenant_id="acme", status="succeeded") == 6
    assert value(metrics, "job_duration_seconds_count", tenant_id="acme", status="succeeded") == 4
    assert value(metrics, "job_retries_total", tenant_id="acme") == 4
    assert value(metrics, "lease_acquired_total", worker_id="w1") == 6
    assert value(metrics, "job_wait_seconds_count", queue="default") == 6
    assert value(metrics, "stale_writes_refused_total") == 8
    assert value(metrics, "api_requests_total", method="GET", endpoint="/v1/jobs/{id}", status="200") == 2
    assert value(metrics, "job_queue_depth", tenant_id="acme") == 7


def test_gauge_of_what_is_gone_falls_to_zero() -> None:
    metrics, telemetry = fed()
    telemetry.emit(events.QueuesMeasured({"acme": 7, "umbrella": 1}, {"default": 1.5, "mail": 2.5}))
    telemetry.emit(events.QueuesMeasured({"umbrella": 2}, {"mail": 3.5}))
    assert value(metrics, "job_queue_depth", tenant_id="acme") == 0
    assert value(metrics, "job_queue_depth", tenant_id="umbrella") == 2
    assert value(metrics, "queue_oldest_ready_age_seconds", queue="default") == 0


def test_what_is_there_is_looked_at_when_somebody_asks() -> None:
    metrics, _ = fed()
    assert value(metrics, "database_pool_connections", state="used") == 3
    assert value(metrics, "worker_slots", state="free") == 95


def test_gauges_of_the_whole_queue_are_shown_by_the_leader_alone() -> None:
    leads = [True]
    metrics, telemetry = Metrics(), Telemetry()
    metrics.subscribe_to(telemetry)
    tell_everything(telemetry)
    whole = {"job_queue_depth", "queue_oldest_ready_age_seconds", "workers", "jobs", "database_dead_rows", "database_connections"}
    assert not whole & {name for name, _ in samples(metrics)}
    metrics.watch_leader(lambda: leads[0])
    assert whole <= {name for name, _ in samples(metrics)}
    leads[0] = False
    assert not whole & {name for name, _ in samples(metrics)}
    assert value(metrics, "reaper_is_leader") == 0
    leads[0] = True
    metrics.whole.forget()
    assert not whole & {name for name, _ in samples(metrics)}, "a new term shows nothing of an old one"
    telemetry.emit(events.QueuesMeasured({"umbrella": 2}, {}))
    assert value(metrics, "job_queue_depth", tenant_id="umbrella") == 2


def test_lease_that_ran_out_for_good_counts_as_a_job_that_ended() -> None:
    metrics, telemetry = fed()
    telemetry.emit(events.LeaseExpired("acme", "job", "worker", 3, "dlq", False))
    telemetry.emit(events.LeaseExpired("acme", "job", "worker", 1, "queued", False))
    assert value(metrics, "lease_expired_total", tenant_id="acme") == 2
    assert value(metrics, "jobs_completed_total", tenant_id="acme", status="dlq") == 1


def test_tenants_over_the_bound_share_one_series() -> None:
    metrics, telemetry = fed(values_max=2)
    for tenant_id in ("a", "b", "c", "d", "a"):
        telemetry.emit(events.JobsSubmitted(tenant_id, "high"))
    assert value(metrics, "jobs_submitted_total", tenant_id="a", priority="high") == 2
    assert value(metrics, "jobs_submitted_total", tenant_id=OTHER, priority="high") == 2
    telemetry.emit(events.QueuesMeasured({"a": 1, "c": 2, "d": 3}, {"q1": 1.0, "q2": 2.0, "q3": 3.0, "q4": 4.0}))
    assert value(metrics, "job_queue_depth", tenant_id=OTHER) == 5
    assert value(metrics, "queue_oldest_ready_age_seconds", queue=OTHER) == 4


def test_guard_lets_the_bound_through_and_not_one_more() -> None:
    guard = LabelGuard()
    assert [guard(f"t{number}") for number in range(200)] == [f"t{number}" for number in range(200)]
    assert guard("t200") == OTHER
    assert guard("t0") == "t0"


def test_tenant_sees_its_own_series_only() -> None:
    metrics, telemetry = fed()
    tell_everything(telemetry, "acme")
    tell_everything(telemetry, "umbrella")
    own = samples(metrics, "acme")
    assert own
    assert all(("tenant_id", "acme") in labels for _, labels in own)
    assert own["jobs_submitted_total", frozenset({("tenant_id", "acme"), ("priority", "high")})] == 3


def test_tenant_named_other_does_not_see_what_others_share() -> None:
    metrics, telemetry = fed(values_max=1)
    for tenant_id in ("a", "b", OTHER):
        tell_everything(telemetry, tenant_id)
    assert samples(metrics, OTHER) == {}
    assert samples(metrics, "b") == {}


def test_batch_of_values_is_observed_as_one_by_one() -> None:
    values = [0.0, 0.001, 0.0011, 0.5, 59.9, 60.0, 3600.0, 3600.1, 1e9]
    single = Histogram("h", "help", buckets=RUN_BUCKETS_S, registry=CollectorRegistry())
    batch = Histogram("h", "help", buckets=RUN_BUCKETS_S, registry=CollectorRegistry())
    for value in values:
        single.observe(value)
    observe_all(batch, values)
    assert [family.samples for family in batch.collect()] == [family.samples for family in single.collect()]
