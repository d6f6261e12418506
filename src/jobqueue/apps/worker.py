"""The worker role: handlers, the database backend, the metrics port. Composition only."""

import asyncio
import itertools
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Final

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.apps.database import lease_terms, opened
from jobqueue.apps.metrics_port import MetricsPort
from jobqueue.apps.process import make_telemetry
from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.signals import Stops
from jobqueue.apps.version import own_version
from jobqueue.config import Settings
from jobqueue.worker.backend import Backend
from jobqueue.worker.backends.postgres import PostgresOptions, factory
from jobqueue.worker.backends.tenant_jobs import OF_DATABASE
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import HandlerError, Registry, default_registry, load_handlers
from jobqueue.worker.runtime import Worker
from jobqueue.worker.surroundings import JobsAddress, Smtp

EVERY_QUEUE: Final = "*"
SUFFIX_BYTES: Final = 2
MIB: Final = 1024**2


async def serve(settings: Settings, stops: Stops) -> None:
    """Run jobs until stopped. Raises StartRefused, JobQueueError."""
    registry = load_registry(settings.handlers)
    telemetry, metrics = make_telemetry()
    options = worker_options(settings, worker_id=make_worker_id())
    clock = SystemClock()
    open_backend = backend_opener(settings, options, registry, clock=clock)
    async with opened(settings, size=1, purpose="worker-health") as db:
        worker = Worker(registry, open_backend, options, clock=clock, tell=telemetry.emit)
        port = MetricsPort(settings.metrics_port, db=db, metrics=metrics, is_draining=stops.stop.is_set)
        async with asyncio.TaskGroup() as group:
            serving = spawn(group, port.run(), port.name)
            await worker.run(stops.stop, stops.abort)
            serving.cancel()
    if worker.left_total:  # threads that cannot be ended would keep the process; their leases run out
        sys.stderr.flush()
        os._exit(0)


def load_registry(modules: Iterable[str]) -> Registry:
    """Gather the built-in handlers and those of the modules. Raises StartRefused."""
    try:
        load_handlers(modules)
        registry = Registry()
        registry.include(default_registry)
        registry.include(spec for spec in BUILTIN if spec.name not in registry)
        registry.check()
    except HandlerError as error:
        raise StartRefused(f"JOBQUEUE_HANDLERS: {error}") from error
    return registry


def make_worker_id() -> str:
    """Name this process: the host, the process, and some chance, since containers share both."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(SUFFIX_BYTES)}"


def worker_options(settings: Settings, *, worker_id: str) -> WorkerOptions:
    """What the settings make of a worker."""
    return WorkerOptions(
        worker_id=worker_id,
        concurrency=settings.worker_concurrency,
        poll_interval_s=settings.poll_interval,
        shutdown_grace_s=settings.shutdown_grace_seconds,
        cancel_grace_s=settings.cancel_grace_seconds,
        isolated_memory_bytes=None if settings.isolated_memory_mib is None else settings.isolated_memory_mib * MIB,
        files_dir=files_dir(settings),
        smtp=smtp(settings),
        outbound_networks=tuple(settings.outbound_networks),
        jobs=None if settings.database_url is None else JobsAddress(OF_DATABASE, settings.database_url),
    )


def smtp(settings: Settings) -> Smtp | None:
    """The mail server, where there is one."""
    if settings.smtp_host is None:
        return None
    assert settings.smtp_from is not None, "checked with the settings"
    return Smtp(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        username=settings.smtp_username,
        password=settings.smtp_password,
        sender=settings.smtp_from,
    )


def files_dir(settings: Settings) -> str | None:
    """Where handlers' files are, as an absolute path. Raises StartRefused when it is no directory: a lost mount is not made anew."""
    if settings.files_dir is None:
        return None
    if not os.path.isdir(settings.files_dir):
        raise StartRefused("JOBQUEUE_FILES_DIR: it is not a directory; make it, or leave the variable out if handlers need no files")
    return os.path.abspath(settings.files_dir)


def backend_opener(settings: Settings, options: WorkerOptions, registry: Registry, *, clock: SystemClock) -> Callable[[], Backend]:
    """Make what a Worker opens its backends with: the first one claims and settles, those after it (the heartbeater's) only beat."""
    assert settings.database_url is not None
    assert settings.direct_url is not None
    claiming, beating = factory(
        PostgresOptions(
            dsn=settings.database_url,
            direct_dsn=settings.direct_url,
            worker_name=options.worker_id,
            queues=None if EVERY_QUEUE in settings.worker_queues else tuple(settings.worker_queues),
            job_types=tuple(registry.job_types),
            concurrency=options.concurrency,
            version=own_version(),
            terms=lease_terms(settings),
        ),
        clock=clock,
    )
    openers = itertools.chain([claiming], itertools.repeat(beating))
    return lambda: next(openers)()
