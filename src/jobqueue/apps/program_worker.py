"""`jobqueue.Worker`: a worker inside a program of the user's, over HTTP or on the database, with the same handlers. Composition only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from jobqueue.aio.clock import SystemClock
from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.signals import Stops, heeded_signals
from jobqueue.apps.tracing import check_variables, traced
from jobqueue.apps.understudy import HTTP, request_of
from jobqueue.apps.version import own_version
from jobqueue.apps.worker_setup import load_registry, make_worker_id, queues_of, worker_options
from jobqueue.config import ConfigurationError, Settings, load
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.logs import configure_logs, log_event, name_process
from jobqueue.worker.backend import Backend
from jobqueue.worker.backends.http import POLL_S, HttpOptions
from jobqueue.worker.backends.http import factory as over_http
from jobqueue.worker.backends.tenant_jobs_http import OF_SERVICE
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry, default_registry
from jobqueue.worker.runtime import Worker as Runtime
from jobqueue.worker.surroundings import JobsAddress

NEEDS_SERVER: Final = "Worker(database_url=...) needs the server's packages ({missing} is missing): pip install 'jobqueue[server]'"
WHICH_WAY: Final = "Worker takes either url and api_key, or database_url"


class Worker:
    """Runs the jobs that the program's handlers (`@job`) take.

        Worker(url="http://127.0.0.1:8000", api_key=key).run_forever()      # anywhere; its tenant's jobs
        Worker(database_url="postgresql://...").run_forever()               # in the cluster; all tenants' jobs; jobqueue[server]

    What is not said here is taken from the JOBQUEUE_ settings of the environment, as `jobqueue worker` does. Leases are renewed at a third
    of their length from a thread of its own, so a handler that blocks the loop keeps them; a lease that could not be renewed is given up
    half a second before the service may give it to another.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        database_url: str | None = None,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        lease_seconds: float | None = None,
        shutdown_grace: float | None = None,
        cancel_grace: float | None = None,
        handlers: Registry | None = None,
        has_builtin: bool = False,
        worker_id: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """queues: None or `*` are all. concurrency: jobs at once. lease_seconds: 5-3600, how long a lease lives without a heartbeat.

        shutdown_grace: seconds running jobs get to end at a stop; then they are given back, their attempts refunded. cancel_grace: seconds
        a handler that was told to stop gets. handlers: None is every `@job` imported so far. has_builtin: the product's own handlers, too.
        worker_id: a name of 1-100 of A-Z a-z 0-9 _ . : -, unique to this process. environment: instead of os.environ.

        Raises ValueError for a wrong combination or setting, ImportError when database_url is given without the server's packages.
        """
        if (url is None) == (database_url is None) or (url is None) != (api_key is None):
            raise ValueError(WHICH_WAY)
        self._settings = _settings(
            os.environ if environment is None else environment,
            JOBQUEUE_DATABASE_URL=database_url,
            JOBQUEUE_WORKER_QUEUES=None if queues is None else ",".join(queues),
            JOBQUEUE_WORKER_CONCURRENCY=concurrency,
            JOBQUEUE_LEASE_SECONDS=lease_seconds,
            JOBQUEUE_SHUTDOWN_GRACE_SECONDS=shutdown_grace,
            JOBQUEUE_CANCEL_GRACE_SECONDS=cancel_grace,
        )
        self._environment = os.environ if environment is None else environment
        self.worker_id = worker_id or make_worker_id()
        self._registry = _registry(handlers, has_builtin=has_builtin)
        self._clock = SystemClock()
        self._stops = Stops()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        if url is not None and api_key is not None:
            self._options, self._open_backend, self._understudy = self._over_http(url, api_key, lease_seconds)
        else:
            self._options, self._open_backend, self._understudy = self._on_database()

    def _over_http(self, url: str, api_key: str, lease_s: float | None) -> tuple[WorkerOptions, Callable[[], Backend], bytes]:
        settings = self._settings
        jobs = JobsAddress(OF_SERVICE, url, api_key)
        options = replace(worker_options(settings, worker_id=self.worker_id, jobs=jobs), poll_interval_s=POLL_S)
        way = HttpOptions(
            url=url,
            api_key=api_key,
            worker_name=self.worker_id,
            queues=queues_of(settings),
            job_types=tuple(self._registry.job_types),
            concurrency=options.concurrency,
            version=own_version(),
            lease_s=lease_s,
        )
        claiming, beating = over_http(way, clock=self._clock)
        openers = itertools.chain([claiming], itertools.repeat(beating))
        return options, lambda: next(openers)(), request_of(HTTP, way, lease_s=lease_s)

    def _on_database(self) -> tuple[WorkerOptions, Callable[[], Backend], bytes]:
        try:
            from jobqueue.apps.worker import backend_opener, database_options, understudy_of
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "jobqueue":
                raise
            raise ImportError(NEEDS_SERVER.format(missing=error.name)) from error
        options = database_options(self._settings, worker_id=self.worker_id)
        understudy = understudy_of(self._settings, options, self._registry)
        return options, backend_opener(self._settings, options, self._registry, clock=self._clock), understudy

    async def run(self) -> None:
        """Work until `stop` is called or an operator says so, then drain. Raises JobQueueError when the service is away or refuses."""
        self._loop = asyncio.get_running_loop()
        if self._settings.database_url is not None:
            await self._check_database()
        if not structlog.is_configured():  # its own default shows local variables, and with them keys
            configure_logs(self._settings.log_level, self._settings.log_format)
        name_process(worker_id=self.worker_id)
        telemetry = Telemetry()
        telemetry.subscribe_all(log_event)
        with traced("worker", self._environment) as traces:
            self._runtime = Runtime(
                self._registry,
                self._open_backend,
                self._options,
                understudy=self._understudy,
                clock=self._clock,
                tell=telemetry.emit,
                traces=traces,
            )
            await self._runtime.run(self._stops.stop, self._stops.abort)

    async def _check_database(self) -> None:
        from jobqueue.apps.database import opened

        async with opened(self._settings, size=1, purpose="worker-check"):
            pass

    def stop(self) -> None:
        """Drain and end; called again: give everything back at once. From any thread, also before `run`."""
        if self._loop is None or self._loop.is_closed():
            self._stops.press()
        else:
            with contextlib.suppress(RuntimeError):  # it closed in between
                self._loop.call_soon_threadsafe(self._stops.press)

    def run_forever(self) -> None:
        """Run on a loop of its own until SIGTERM or SIGINT; a second one gives everything back at once. For the main thread."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._run_signalled())
        if self._runtime is not None and self._runtime.left_total:  # threads that cannot be ended would keep the process
            sys.stderr.flush()
            os._exit(0)

    async def _run_signalled(self) -> None:
        with heeded_signals() as stops:
            self._stops = stops
            await self.run()


def _settings(environment: Mapping[str, str], **given: Any) -> Settings:
    """Read the environment's settings with those given over them; a database there is none of an HTTP worker's. Raises ValueError."""
    kept = {name: value for name, value in environment.items() if name not in ("DATABASE_URL", "JOBQUEUE_DATABASE_URL")}
    named = {name: str(value) for name, value in given.items() if value is not None}
    try:
        check_variables(environment)
        return load({**kept, **named})
    except (ConfigurationError, StartRefused) as error:
        raise ValueError(str(error)) from error


def _registry(handlers: Registry | None, *, has_builtin: bool) -> Registry:
    if has_builtin and handlers is None:
        try:
            return load_registry(())
        except StartRefused as error:
            raise ValueError(str(error)) from error
    found = default_registry if handlers is None else handlers
    if not found.job_types:
        raise ValueError("there is no handler: declare one with @job before making the Worker")
    return found


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quick loop where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
