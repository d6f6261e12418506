"""Figures by queue, as autoscalers read them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from jobqueue.api.authorize import JobsReader
from jobqueue.api.bodies import json_response
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import caller_of
from jobqueue.api.services import ApiServices
from jobqueue.operations import queues as operations
from jobqueue.operations.queues import QueueStats
from jobqueue.protocol.filters import VALUES_MAX
from jobqueue.protocol.jobs import QueueName
from jobqueue.protocol.queues import QueuesStats

WHICH: Final = Query(max_length=VALUES_MAX, description="Repeated: the figures of each, zeros for a queue nobody used. None: every queue.")


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = StatsRoutes(services)
    router = APIRouter(tags=["queues"])
    shown = documented({200: ("Figures by queue.", QueuesStats)})
    router.add_api_route("/v1/stats", routes.stats, methods=["GET"], operation_id="get_queue_figures", **shown)
    return router


class StatsRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._limits = services.limits

    async def stats(self, caller: JobsReader, queues: Annotated[list[QueueName] | None, WHICH] = None) -> Response:
        """Show what waits and runs in each queue, its rates, and how many workers it needs."""
        found = await operations.stats(self._db, caller_of(caller), names=queues or [], default_concurrency=self._limits.worker_concurrency)
        return json_response({"queues": {name: figures_object(figures) for name, figures in found.items()}})


def figures_object(figures: QueueStats) -> dict[str, Any]:
    """Show a queue's figures."""
    return {
        "ready": figures.ready,
        "scheduled": figures.scheduled,
        "running": figures.running,
        "failed": figures.failed,
        "dlq": figures.dlq,
        "oldest_ready_age_seconds": figures.oldest_ready_age_s,
        "arrival_rate": figures.arrival_rate,
        "completion_rate": figures.completion_rate,
        "desired_workers": figures.desired_workers,
    }
