"""Measure the whole queue, for metrics: cheap however many jobs are kept, since it reads folded counts, leases and the heads of lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.domain.lifecycle import Status
from jobqueue.operations.jobs import WORKER_ALIVE_S
from jobqueue.store import measures as store
from jobqueue.store.pool import Database
from jobqueue.telemetry.events import QueuesMeasured, WorkersMeasured
from jobqueue.telemetry.labels import OTHER

TENANTS_MAX: Final = 1_000
"""Tenants named in one look, those with most due jobs; metrics show fewer still."""
LANES_MAX: Final = 20_000
"""Lanes whose oldest job one look probes, some 10 us each."""
WORKER_STATES: Final = ("running", "quiet")


@dataclass(frozen=True, slots=True)
class Measures:
    """One look. Statuses and worker states are all named, with 0 where there is none."""

    depth_by_tenant: dict[str, int]
    oldest_ready_age_s_by_queue: dict[str, float]
    count_by_status: dict[str, int]
    workers_by_state: dict[str, int]

    def told(self) -> tuple[QueuesMeasured, WorkersMeasured]:
        """Make what is told of the look."""
        queues = QueuesMeasured(self.depth_by_tenant, self.oldest_ready_age_s_by_queue, self.count_by_status)
        return queues, WorkersMeasured(self.workers_by_state)


async def read(db: Database) -> Measures:
    """Look. Raises DatabaseUnavailable."""
    depths: dict[str, int] = {}
    statuses = {status.value: 0 for status in Status}
    workers = dict.fromkeys(WORKER_STATES, 0)
    for row in await store.counts(db, tenants_max=TENANTS_MAX, worker_alive_s=WORKER_ALIVE_S):
        counted = {"tenant": depths, "status": statuses, "worker": workers}[row["kind"]]
        counted[row["name"] or OTHER] = max(0, row["n"])
    ages_s = {row["name"]: row["age_s"] for row in await store.oldest(db, lanes_max=LANES_MAX)}
    return Measures(depths, ages_s, statuses, workers)


async def depth(db: Database, tenant_id: int) -> int:
    """Count a tenant's due jobs. Raises DatabaseUnavailable."""
    return await store.depth(db, tenant_id)
