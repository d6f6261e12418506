"""A worker: four actors around one Backend, started from the last to the first and stopped from the first to the last.

    fetcher -> executor -> acker, and the heartbeater beside them

Stopping in that order loses nothing: claiming ends, handlers end or are given back, their outcomes are settled, then the leases that
are left (none, unless a handler could not be stopped) run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Final

from jobqueue.aio.clock import Clock, SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.lease import Directive
from jobqueue.worker.acker import Acker
from jobqueue.worker.backend import Backend, OpenBackend
from jobqueue.worker.board import Board, is_available
from jobqueue.worker.events import Tell, silent
from jobqueue.worker.executor import Executor
from jobqueue.worker.fetcher import Fetcher
from jobqueue.worker.heartbeater import Heartbeater
from jobqueue.worker.isolated import IsolatedRuns
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.run import Book, Run
from jobqueue.worker.understudy import Understudy

if TYPE_CHECKING:
    from jobqueue.telemetry.traces import Traces

SETTLE_STOP_S_MAX: Final = 5.0
"""How long a stop waits for the last settles after its grace; jobs whose outcome is not stored by then run again."""
AWAY_STOP_S_MAX: Final = 1.0
"""The same, while no settle comes through."""

STOP_S_MAX: Final = 10.0


class Worker:
    """Runs the jobs a registry has handlers for, until told to stop."""

    def __init__(
        self,
        registry: Registry,
        open_backend: OpenBackend,
        options: WorkerOptions,
        *,
        open_beating: OpenBackend | None = None,
        understudy: bytes | None = None,
        clock: Clock | None = None,
        tell: Tell = silent,
        traces: Traces | None = None,
    ) -> None:
        """open_backend makes what claims and settles, open_beating what only beats, in a thread of its own; None: the first does for both.

        understudy: what a process needs to renew leases while this interpreter is held (apps/understudy.py writes it); None: there is none.
        tell is given every event, also from the heartbeater's thread: Telemetry.emit is made for it. traces None: nobody keeps any.
        """
        self._registry = registry
        self._open_backend = open_backend
        self._open_beating = open_backend if open_beating is None else open_beating
        self._options = options
        self._understudy = understudy
        self._clock = SystemClock() if clock is None else clock
        self._tell = tell
        self._traces = traces
        self._executor: Executor | None = None

    @property
    def left_total(self) -> int:
        """Handlers that could not be stopped and are still there. Above 0 after run(), only the end of the process ends them."""
        return 0 if self._executor is None else self._executor.left_total

    def slots(self) -> tuple[int, int]:
        """Count the slots that jobs run in, and those that are free."""
        free = 0 if self._executor is None else self._executor.slots_free
        return (0 if self._executor is None else self._options.concurrency - free), free

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        """Work until stop is set, then drain; abort, set then or before, gives everything back at once.

        An operator's `terminate` sets stop, too. Raises HandlerError for a handler that cannot be called, JobQueueError when the backend
        cannot be opened, and whatever ends an actor that must not end. Cancellation stops at once: leases are left to run out.
        """
        self._registry.check()
        backend = self._open_backend()
        await backend.open()
        try:
            async with self._board() as board:
                await self._work(backend, Book(board), stop, abort)
        finally:
            await backend.close()

    @asynccontextmanager
    async def _board(self) -> AsyncIterator[Board | None]:
        """Have an understudy beside the block, and the board it reads, where there can be one."""
        if self._understudy is None or not is_available():
            yield None
            return
        with closing(Board()) as board:
            async with asyncio.TaskGroup() as group:
                understudy = Understudy(board, self._understudy, clock=self._clock)
                standing_by = spawn(group, understudy.run(), understudy.name)
                yield board
                standing_by.cancel()

    async def _work(self, backend: Backend, book: Book, stop: asyncio.Event, abort: asyncio.Event) -> None:
        fetcher, executor, heartbeater, acker = self._wire(backend, book, stop)
        async with asyncio.TaskGroup() as group:
            acking, beating, executing, fetching = (
                spawn(group, actor.run(), actor.name) for actor in (acker, heartbeater, executor, fetcher)
            )
            aborting = spawn(group, _on_set(abort, executor.abort, acker.hurry), "abort")
            await stop.wait()
            grace_ends_at = self._clock.monotonic() + self._options.shutdown_grace_s
            executor.close()
            await _end(fetching)
            await executor.drain()
            await _end(executing)
            grace_s = max(0.0, grace_ends_at - self._clock.monotonic())
            await acker.drain(grace_s=grace_s, within_s=SETTLE_STOP_S_MAX, away_s=AWAY_STOP_S_MAX)
            await _end(aborting)
            await _end(beating)
            await _end(acking)

    def _wire(self, backend: Backend, book: Book, stop: asyncio.Event) -> tuple[Fetcher, Executor, Heartbeater, Acker]:
        clock, options, tell = self._clock, self._options, self._tell

        def ring() -> None:
            fetcher.ring()

        def lose(run: Run) -> None:
            executor.lose(run)

        def cancel(run: Run) -> None:
            executor.cancel(run)

        def direct(directive: Directive) -> None:
            fetcher.quiet(directive is not Directive.RUN)
            if directive is Directive.TERMINATE:
                stop.set()

        acker = Acker(backend=backend, book=book, clock=clock, tell=tell, on_settled=ring)
        heartbeater = Heartbeater(
            open_backend=self._open_beating,
            book=book,
            options=options,
            clock=clock,
            tell=tell,
            on_lost=lose,
            on_cancel=cancel,
            on_directive=direct,
        )
        isolated = IsolatedRuns(options=options, report_start=heartbeater.report_start)
        executor = Executor(
            registry=self._registry, options=options, clock=clock, book=book, isolated=isolated, settle=acker.add, tell=tell, ring=ring
        )
        fetcher = Fetcher(backend=backend, executor=executor, book=book, options=options, clock=clock, tell=tell, traces=self._traces)
        self._executor = executor
        return fetcher, executor, heartbeater, acker


async def _on_set(event: asyncio.Event, *acts: Callable[[], None]) -> None:
    await event.wait()
    for act in acts:
        act()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel one actor and wait for it, within a bound."""
    task.cancel()
    await asyncio.wait([task], timeout=STOP_S_MAX)
