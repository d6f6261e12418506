"""What `/metrics` of the API port shows: this process's series, those of the peers the settings name, and the whole queue.

Here the gauges of the whole queue come from a look at the database when somebody asks, at most every few seconds, and not from the
reaper: people and tenants see them on any API process. Prometheus scrapes the metrics ports, where they have one source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.apps import metrics_peers
from jobqueue.apps.metrics_peers import Address
from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.operations import health, measures
from jobqueue.operations.database import Database
from jobqueue.telemetry.labels import OTHER
from jobqueue.telemetry.metrics import Metrics

LOOK_S: Final = 2.0
HEALTH_S: Final = 15.0
DEPTH: Final = (
    "# HELP job_queue_depth Jobs that are due and wait for a worker.\n# TYPE job_queue_depth gauge\n"
    'job_queue_depth{{tenant_id="{tenant}"}} {depth:.1f}\n'
)


class MetricsPage:
    """Writes the page, for all tenants or for one. A database that is away leaves the whole queue's gauges as they were."""

    def __init__(self, db: Database, metrics: Metrics, *, peers: Sequence[Address], clock: Clock) -> None:
        self._db = db
        self._metrics = metrics
        self._peers = peers
        self._clock = clock
        self._looked_at = self._looked_at_health = float("-inf")

    async def everything(self) -> bytes:
        """Write all series."""
        await self._look()
        own = self._metrics.render(is_whole=True).decode()
        if not self._peers:
            return own.encode()
        pages = await metrics_peers.fetch_pages(self._peers)
        return metrics_peers.merge(own, pages, only_own=self._metrics.whole.names()).encode()

    async def of_tenant(self, tenant: str, tenant_id: int) -> bytes:
        """Write the series of one tenant; one that shares the label `other` with many has its depth only."""
        page = self._metrics.render(tenant, is_whole=False).decode()
        if self._peers and tenant != OTHER:
            pages = await metrics_peers.fetch_pages(self._peers)
            whole = metrics_peers.merge(self._metrics.render(is_whole=False).decode(), pages, only_own=self._metrics.whole.names())
            page = metrics_peers.only_tenant(whole, tenant)
        depth = await measures.depth(self._db, tenant_id)
        return (page + DEPTH.format(tenant=tenant, depth=depth)).encode()

    async def _look(self) -> None:
        now_s = self._clock.monotonic()
        whole = self._metrics.whole
        try:
            if now_s - self._looked_at >= LOOK_S:
                self._looked_at = now_s
                queues, workers = (await measures.read(self._db)).told()
                whole.set_queues(queues)
                whole.set_workers(workers)
            if now_s - self._looked_at_health >= HEALTH_S:
                self._looked_at_health = now_s
                whole.set_database(health.told(await health.read(self._db)))
        except DatabaseUnavailable:
            self._looked_at = self._looked_at_health = float("-inf")
