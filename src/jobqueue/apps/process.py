"""What every role's process has in common: logs, the event loop, signals, telemetry."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg
import uvloop

from jobqueue.aio.supervise import spawn
from jobqueue.apps.embedded import EmbeddedServerFailed
from jobqueue.apps.refusals import ChildRefused, RoleFailed, StartRefused
from jobqueue.apps.signals import Stops, end_with_parent, heeded_signals
from jobqueue.config import Settings
from jobqueue.domain.errors import DatabaseUnavailable, InvalidFields, JobQueueError, UnsafeDatabase
from jobqueue.operations.database import Database
from jobqueue.telemetry.events import ConnectionWaited, ServiceFaulted, Telemetry
from jobqueue.telemetry.logs import Format, configure_logs, log_event
from jobqueue.telemetry.metrics import Metrics

Answer = TypeVar("Answer")

GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Python's own are (700, 10, 10)."""


def run_role(
    settings: Settings,
    serve: Callable[[Stops], Coroutine[Any, Any, None]],
    *,
    is_child: bool = False,
    is_cut_off: bool = False,
    log_format: Format | None = None,
) -> None:
    """Run a role until it has ended.

    is_child: its stdin is its parent's sign of life. is_cut_off: a second signal cancels it; else it heeds stops.abort itself.
    log_format is what the logs look like where the settings do not say.

    Raises StartRefused, RoleFailed, ChildRefused for what was foreseen.
    """
    configure_logs(settings.log_level, settings.log_format or log_format)
    if is_child:
        end_with_parent(grace_s=settings.shutdown_grace_seconds)
    calm_garbage_collector()
    run(_serve_until_signalled(serve, is_cut_off=is_cut_off))


def calm_garbage_collector() -> None:
    """Look for cycles less often, and never among what was loaded: a batch makes thousands of objects that die by themselves.

    Measured with bench/worker_loop.py: 12.2 us a job before, 8.8 after.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve_until_signalled(serve: Callable[[Stops], Coroutine[Any, Any, None]], *, is_cut_off: bool) -> None:
    with heeded_signals() as stops:
        async with asyncio.TaskGroup() as group:
            serving = spawn(group, serve(stops), "role")
            cutting = spawn(group, _cancel_when_set(stops.abort, serving), "cut-off") if is_cut_off else None
            await asyncio.wait([serving])
            if cutting is not None:
                cutting.cancel()


async def _cancel_when_set(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    await event.wait()
    task.cancel()


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run one piece of work on an event loop of its own. Raises as run_role does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, plain_words():
        return runner.run(work)


@contextmanager
def plain_words() -> Iterator[None]:
    """Turn the product's own errors, also out of a task group, into a refusal or a failure of one line; other errors stay as they are."""
    try:
        yield
    except Exception as error:
        foreseen = _foreseen(_first(error))
        if foreseen is None:
            raise
        raise foreseen from error


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _foreseen(error: BaseException) -> Exception | None:
    match error:
        case StartRefused() | RoleFailed() | ChildRefused():
            return error
        case UnsafeDatabase():
            return StartRefused(str(error))
        case InvalidFields():
            return StartRefused("; ".join(f"{pointer.lstrip('/')}: {detail}" for pointer, detail in error.fields))
        case asyncpg.InvalidCatalogNameError() | asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.ClientConfigurationError():
            return StartRefused(f"JOBQUEUE_DATABASE_URL: {' '.join(str(error).split())}")
        case DatabaseUnavailable():
            return RoleFailed(f"{error}; check JOBQUEUE_DATABASE_URL, and that the server runs")
        case JobQueueError() | EmbeddedServerFailed():
            return RoleFailed(" ".join(str(error).split()))
        case _:
            return None


def make_telemetry(*, is_counted: bool = True) -> tuple[Telemetry, Metrics]:
    """Make the hub of a process, with its metrics, unless nobody can see them, and its log listening."""
    telemetry = Telemetry()
    metrics = Metrics()
    if is_counted:
        metrics.subscribe_to(telemetry)
    telemetry.subscribe_all(log_event)
    return telemetry, metrics


def watch_database(telemetry: Telemetry, metrics: Metrics, db: Database) -> None:
    """Have waits for the pool's connections told, and the connections shown."""
    db.on_wait = lambda wait_s: telemetry.emit(ConnectionWaited(wait_s))
    metrics.watch_pool(db.connections)


def fault_teller(telemetry: Telemetry) -> Callable[[str, Exception], None]:
    """Make what periodic services tell their faults to."""
    return lambda service, error: telemetry.emit(ServiceFaulted(service, error))
