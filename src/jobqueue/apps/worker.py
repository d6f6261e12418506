"""The worker role: handlers, the database backend, the metrics port. Composition only."""

import asyncio
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.apps.database import lease_terms, opened
from jobqueue.apps.loop_meter import LoopMeter
from jobqueue.apps.metrics_port import MetricsPort
from jobqueue.apps.process import make_telemetry, watch_database
from jobqueue.apps.signals import Stops
from jobqueue.apps.tracing import traced
from jobqueue.apps.understudy import POSTGRES, request_of
from jobqueue.apps.version import own_version
from jobqueue.apps.worker_setup import load_registry, make_worker_id, queues_of, worker_options
from jobqueue.config import Settings
from jobqueue.operations.database import Database
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.logs import name_process
from jobqueue.telemetry.metrics import Metrics
from jobqueue.worker.backend import Backend
from jobqueue.worker.backends.postgres import PostgresOptions, factory
from jobqueue.worker.backends.tenant_jobs import OF_DATABASE
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.runtime import Worker
from jobqueue.worker.surroundings import JobsAddress


async def serve(settings: Settings, stops: Stops) -> None:
    """Run jobs until stopped. Raises StartRefused, JobQueueError."""
    registry = load_registry(settings.handlers)
    telemetry, metrics = make_telemetry(is_counted=settings.metrics_port > 0)
    options = database_options(settings, worker_id=make_worker_id())
    clock = SystemClock()
    watch = partial(watch_database, telemetry, metrics)
    open_backend = backend_opener(settings, options, registry, clock=clock, watch=watch)
    understudy = understudy_of(settings, options, registry)
    name_process(worker_id=options.worker_id)
    with traced("worker", os.environ) as traces:
        worker = Worker(registry, open_backend, options, understudy=understudy, clock=clock, tell=telemetry.emit, traces=traces)
        await _work(settings, stops, worker, telemetry, metrics, clock=clock)
    if worker.left_total:  # threads that cannot be ended would keep the process; their leases run out
        sys.stderr.flush()
        os._exit(0)


async def _work(settings: Settings, stops: Stops, worker: Worker, telemetry: Telemetry, metrics: Metrics, *, clock: SystemClock) -> None:
    async with opened(settings, size=1, purpose="worker-health") as db:
        metrics.watch_slots(worker.slots)
        port = MetricsPort(settings.metrics_port, db=db, metrics=metrics, is_draining=stops.stop.is_set)
        async with asyncio.TaskGroup() as group:
            beside = [spawn(group, service.run(), service.name) for service in (port, LoopMeter(clock, telemetry))]
            await worker.run(stops.stop, stops.abort)
            for task in beside:
                task.cancel()


def database_options(settings: Settings, *, worker_id: str) -> WorkerOptions:
    """What the settings make of a worker on the database."""
    jobs = None if settings.database_url is None else JobsAddress(OF_DATABASE, settings.database_url)
    return worker_options(settings, worker_id=worker_id, jobs=jobs)


def backend_opener(
    settings: Settings,
    options: WorkerOptions,
    registry: Registry,
    *,
    clock: SystemClock,
    watch: Callable[[Database], None] | None = None,
) -> Callable[[], Backend]:
    """Make what a Worker opens its backends with: the first one claims and settles, those after it (the heartbeater's) only beat.

    watch is given the first one's pool.
    """
    claiming, beating = factory(replace(postgres_options(settings, options, registry), watch=watch), clock=clock)
    openers = itertools.chain([claiming], itertools.repeat(beating))
    return lambda: next(openers)()


def understudy_of(settings: Settings, options: WorkerOptions, registry: Registry) -> bytes:
    """What a worker's understudy beats with."""
    return request_of(POSTGRES, postgres_options(settings, options, registry), lease_s=settings.lease_seconds)


def postgres_options(settings: Settings, options: WorkerOptions, registry: Registry) -> PostgresOptions:
    """What the settings make of a way to the database."""
    assert settings.database_url is not None
    assert settings.direct_url is not None
    return PostgresOptions(
        dsn=settings.database_url,
        direct_dsn=settings.direct_url,
        worker_name=options.worker_id,
        queues=queues_of(settings),
        job_types=tuple(registry.job_types),
        concurrency=options.concurrency,
        version=own_version(),
        terms=lease_terms(settings),
    )
