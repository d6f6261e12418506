"""Write deploy/grafana/dashboards/*.json: three pages of panels, each a title, its queries and a unit.

python -m scripts.dashboards
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TARGET: Final = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
COLUMNS: Final = 24
HEIGHT: Final = 8
Query = tuple[str, str]
"""An expression, and what its series are called."""


@dataclass(frozen=True)
class Panel:
    """One panel. kind: timeseries or stat; steps: where a stat turns yellow and red; width: of 24 columns."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    steps: tuple[float, float] | None = None
    width: int = 8
    said: str = ""


def stat(title: str, expr: str, *, unit: str = "short", steps: tuple[float, float] | None = None, said: str = "") -> Panel:
    """A single figure."""
    return Panel(title, [(expr, "")], unit, "stat", steps, 4, said)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """A counter's rate, summed."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{where}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """A histogram's quantile."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def quantiles(metric: str, where: str = "") -> list[Query]:
    """Median, p95 and p99."""
    return [(quantile(share, metric, where=where), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


ENDED: Final = rate("jobs_completed_total")
BURIED: Final = rate("jobs_completed_total", where='{status="dlq"}')
RETRIED: Final = rate("job_retries_total")
BY_PROCESS: Final = "sum by (role, instance)"
PROCESS: Final = "{{role}} {{instance}}"
ASKED: Final = '{endpoint!~"/v1/events|/v1/jobs/import"}'
TENANT: Final = '{tenant_id=~"$tenant"}'
QUEUE: Final = '{queue=~"$queue"}'

OVERVIEW: Final = (
    stat("Jobs due", "sum(job_queue_depth)", steps=(500, 1000), said="They wait for a worker; what waits for its time is not among them."),
    stat("Oldest due job", "max(queue_oldest_ready_age_seconds)", unit="s", steps=(60, 300)),
    stat("Workers", 'sum(workers{state="running"})', said="Alive and taking jobs."),
    stat("Dead letters", 'sum(jobs{status="dlq"})', steps=(1, 1000)),
    stat("Leaders", "sum(reaper_is_leader)", said="One, or none for the seconds of a change."),
    stat("API p95", quantile(0.95, "api_request_latency_seconds", where=ASKED), unit="s", steps=(0.25, 1)),
    Panel(
        "Submitted and ended", [(rate("jobs_submitted_total"), "submitted"), (rate("jobs_completed_total", "status"), "{{status}}")], "ops"
    ),
    Panel("Jobs by status", [('sum by (status) (jobs{status!="succeeded"})', "{{status}}")]),
    Panel("Due jobs by tenant", [("topk(10, sum by (tenant_id) (job_queue_depth))", "{{tenant_id}}")]),
    Panel("Wait before the start", quantiles("job_wait_seconds"), "s", said="From the moment a job was due to its claim."),
    Panel("Duration of jobs", quantiles("job_duration_seconds"), "s"),
    Panel(
        "Failing attempts",
        [(f"(({BURIED} or vector(0)) + ({RETRIED} or vector(0))) / ({ENDED} + ({RETRIED} or vector(0)))", "share")],
        "percentunit",
    ),
    Panel("Requests by status", [(rate("api_requests_total", "status"), "{{status}}")], "reqps"),
    Panel("Latency of requests", quantiles("api_request_latency_seconds", ASKED), "s"),
    Panel("Workers by state", [("sum by (state) (workers)", "{{state}}"), ("sum by (state) (worker_slots)", "slots {{state}}")]),
)

QUEUES: Final = (
    Panel("Oldest due job", [(f"max by (queue) (queue_oldest_ready_age_seconds{QUEUE})", "{{queue}}")], "s", width=12),
    Panel("Claims", [(f"sum by (queue) (rate(job_wait_seconds_count{QUEUE}[$__rate_interval]))", "{{queue}}")], "ops", width=12),
    Panel("Wait before the start, p50", [(quantile(0.5, "job_wait_seconds", "queue", QUEUE), "{{queue}}")], "s", width=12),
    Panel("Wait before the start, p99", [(quantile(0.99, "job_wait_seconds", "queue", QUEUE), "{{queue}}")], "s", width=12),
    Panel("Due jobs", [(f"sum by (tenant_id) (job_queue_depth{TENANT})", "{{tenant_id}}")], width=12),
    Panel("Submitted", [(rate("jobs_submitted_total", "priority", TENANT), "{{priority}}")], "ops", width=12),
    Panel("Ended", [(rate("jobs_completed_total", "status", TENANT), "{{status}}")], "ops", width=12),
    Panel("Retries and lost leases", [
        (f"({rate('job_retries_total', where=TENANT)}) or vector(0)", "retries"),
        (f"({rate('lease_expired_total', where=TENANT)}) or vector(0)", "leases lost"),
    ], "ops", width=12),
    Panel("Duration of jobs", quantiles("job_duration_seconds", TENANT), "s", width=12),
    Panel("Webhook deliveries waiting", [("max(webhook_lag_seconds) or vector(0)", "oldest")], "s", width=12),
)  # fmt: skip

INTERNALS: Final = (
    Panel("Jobs given to workers", [(rate("lease_acquired_total", "worker_id"), "{{worker_id}}")], "ops"),
    Panel("Jobs stored by one statement", quantiles("submit_batch_jobs")),
    Panel("Stale writes refused", [(rate("stale_writes_refused_total"), "refused")], "ops", said="Their lease was lost before."),
    Panel("Event loops: lag p99", [(quantile(0.99, "event_loop_lag_seconds", "role, instance"), PROCESS)], "s"),
    Panel("Processor", [(f"{BY_PROCESS} (rate(process_cpu_seconds_total[$__rate_interval]))", PROCESS)], "percentunit"),
    Panel("Memory", [(f"{BY_PROCESS} (process_resident_memory_bytes)", PROCESS)], "bytes"),
    Panel("Pool: seconds waited a second", [(f"{BY_PROCESS} (rate(database_pool_wait_seconds_sum[$__rate_interval]))", PROCESS)], "s"),
    Panel("Pool: connections", [("sum by (role, state) (database_pool_connections)", "{{role}} {{state}}")]),
    Panel("Server: connections", [("max(database_connections)", "taken"), ("max(database_connections_max)", "there are")]),
    Panel("Oldest transaction", [("max(database_oldest_transaction_seconds)", "age")], "s", said="Vacuum waits for it."),
    Panel("Rows for vacuum", [("max by (table) (database_dead_rows)", "{{table}}")]),
    Panel("Size", [("max(database_table_bytes)", "tables"), ("max(database_index_bytes)", "indexes")], "bytes"),
    Panel("NOTIFY's queue", [("max(database_notify_queue_ratio)", "full")], "percentunit"),
    Panel("Live feed: lag", [("max(feed_lag_seconds)", "lag")], "s"),
    Panel("Live streams", [("sum by (instance) (live_streams)", "{{instance}}")]),
    Panel("Failed ticks of services", [(f"{rate('service_faults_total', 'service')} or vector(0)", "{{service}}")], "ops"),
    Panel("Leadership", [("sum by (instance) (reaper_is_leader)", "{{instance}}")]),
    Panel("Answering Prometheus", [('sum by (role) (up{job="jobqueue"})', "{{role}}")]),
)  # fmt: skip

DASHBOARDS: Final = {
    "overview": ("jobqueue: overview", OVERVIEW, ()),
    "queue": ("jobqueue: a queue", QUEUES, (("queue", "queue_oldest_ready_age_seconds"), ("tenant_id", "job_queue_depth"))),
    "internals": ("jobqueue: internals", INTERNALS, ()),
}


def variable(label: str, metric: str) -> dict[str, Any]:
    """A choice of a label's values; all of them at first."""
    return {
        "name": label.removesuffix("_id"),
        "type": "query",
        "datasource": DATASOURCE,
        "query": f"label_values({metric}, {label})",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def drawn(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """A panel as Grafana knows it."""
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.steps is not None:
        colours = zip(("green", "yellow", "red"), (None, *panel.steps), strict=True)
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in colours]}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        **({"description": panel.said} if panel.said else {}),
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": 4 if panel.kind == "stat" else HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend or "__auto"}
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }


def page(name: str) -> dict[str, Any]:
    """A dashboard as Grafana knows it: panels in rows of 24 columns."""
    title, panels, variables = DASHBOARDS[name]
    placed, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + row_height
        placed.append(drawn(panel, number, x, y))
        x, row_height = x + panel.width, placed[-1]["gridPos"]["h"]
    return {
        "uid": f"jobqueue-{name}",
        "title": title,
        "tags": ["jobqueue"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["jobqueue"], "title": "jobqueue", "asDropdown": False, "includeVars": True}],
        "templating": {"list": [variable(*one) for one in variables]},
        "panels": placed,
    }


def text(name: str) -> str:
    """A dashboard's file."""
    return json.dumps(page(name), indent=2) + "\n"


if __name__ == "__main__":
    for known in DASHBOARDS:
        (TARGET / f"{known}.json").write_text(text(known), "utf-8")
