"""Run claimed jobs: async handlers as tasks, plain ones in threads, isolated ones in processes; at most `concurrency` at a time.

What a job costs here decides the worker's speed, so there is no timer, no lock and no log line per job: one sweep over the running
ones finds what is overdue, lost or hung. Everything runs on one event loop; only handlers' threads live elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.outcome import Outcome
from jobqueue.telemetry.logs import handle
from jobqueue.worker import outcomes, verdict
from jobqueue.worker.events import HandlerLeft, LeaseLost, Tell, ThreadTimedOut
from jobqueue.worker.handler import Context
from jobqueue.worker.launch import Rest, first_step, spawn_apart
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import HandlerSpec, Registry
from jobqueue.worker.run import Book, Run, StopReason
from jobqueue.worker.threads import ThreadPool

SWEEP_S: Final = 0.1
"""A timeout is noticed at most this late."""

FILL_JOBS_MAX: Final = 100
"""Jobs started in one turn of the loop; then others get theirs."""

STOP_S: Final = 2.0
ABORT_S: Final = 0.5
"""How long a handler may take to end that is stopped by a shutdown, after its grace or without one."""

ISOLATED_KILL_S: Final = 5.0
"""An isolated run is killed at the end of its grace and gets this much longer to be taken for dead."""


class Isolated(Protocol):
    """Runs one job in a process of its own (isolated.py)."""

    async def run(self, run: Run, spec: HandlerSpec) -> Outcome:
        """Report the start, run, answer. A cancellation ends the process, then raises CancelledError or answers."""


class Executor:
    """Holds the jobs that wait for a slot and those that have one."""

    name = "executor"

    def __init__(
        self,
        *,
        registry: Registry,
        options: WorkerOptions,
        clock: Clock,
        book: Book,
        isolated: Isolated,
        settle: Callable[[Run], None],
        tell: Tell,
        ring: Callable[[], None],
    ) -> None:
        """settle takes a run whose outcome is set; ring says that no more than low_water jobs wait. Neither may call back."""
        self._registry = registry
        self._options = options
        self._surroundings = options.surroundings
        self._clock = clock
        self._monotonic = clock.monotonic
        self._book = book
        self._isolated = isolated
        self._settle = settle
        self._tell = tell
        self._waiting: deque[Run] = deque()
        self._running: set[Run] = set()
        self._left: set[asyncio.Task[None]] = set()
        self._is_filling = False
        self._carrier: asyncio.Task[None] | None = None  # where waiting jobs are being started
        self._waiting_handlers: set[str] = set()  # those seen to wait for something: each run gets a task of its own at once
        self._context = copy_context()  # each handler gets a copy, so that none sees what another one set
        self._is_draining = False
        self._is_aborted = False
        self._changed = asyncio.Event()
        self._threads = ThreadPool(threads_max=options.concurrency, name="handler")
        self.ended_total = 0
        self.low_water = -1
        """Ring when no more than this many wait; -1 rings never. The fetcher sets it."""
        self._ring = ring

    @property
    def slots_free(self) -> int:
        """Slots nobody runs in."""
        return self._options.concurrency - len(self._running)

    @property
    def waiting(self) -> int:
        """Leased jobs without a slot."""
        return len(self._waiting)

    @property
    def left_total(self) -> int:
        """Handlers of this process that ignored being told to stop and are still there."""
        return len(self._left) + sum(run.is_left for run in self._running)

    def accept(self, runs: list[Run]) -> None:
        """Take over claimed jobs. They start as slots become free, in order."""
        self._book.enter(runs)
        self._waiting.extend(runs)
        if self._is_draining:
            self._release_waiting()
        else:
            self._fill()

    async def run(self) -> None:
        """Sweep until cancelled; then nothing is left running that can be cancelled. Call drain() before, to end in order."""
        try:
            while True:
                await self._clock.sleep(SWEEP_S)
                self.sweep()
        finally:
            for run in list(self._running):
                if run.task is not None:
                    run.task.cancel()

    def sweep(self) -> None:
        """Stop what is overdue or not provably ours, and leave behind what does not stop."""
        now, boot = self._clock.monotonic(), self._clock.boottime()
        for run in self._live():
            if self._book.is_fenced(run, boot):
                self.lose(run)
            elif run.stop_reason is None and now >= run.deadline_at:
                self._stop(run, StopReason.TIMEOUT)
            if now >= run.stopped_at + self._grace_s(run):
                self._leave(run)

    def cancel(self, run: Run) -> None:
        """Stop a run because its job was asked to cancel."""
        if run.outcome is None and run.stop_reason is None:
            self._stop(run, StopReason.CANCELLED)

    def lose(self, run: Run) -> None:
        """Stop a run whose lease is gone; nothing of it is reported any more. A run that has ended is left to its settle."""
        if run.outcome is not None or run.stop_reason is StopReason.LOST or run not in self._book:
            return
        self._book.drop(run)
        self._tell(LeaseLost(*_ids(run), run.started_at is not None))
        self._stop(run, StopReason.LOST)

    def abort(self) -> None:
        """End a drain's patience: what still runs is stopped and given back at once."""
        self._is_aborted = True
        self._changed.set()

    def close(self) -> None:
        """Start nothing more: what waits, and what is still accepted, is given back at once."""
        self._is_draining = True
        self._release_waiting()

    async def drain(self) -> None:
        """After close(), let the rest end within the grace or until abort(), then stop it and give it back too.

        All outcomes are with the acker when this returns.
        """
        assert self._is_draining
        await self._until_idle(self._options.shutdown_grace_s, heeds_abort=True)
        for run in self._live():
            if run.stop_reason is None:
                self._stop(run, StopReason.SHUTDOWN)
        await self._until_idle(ABORT_S if self._is_aborted else STOP_S, heeds_abort=False)
        for run in self._live():
            self._leave(run)
            self._report(run, verdict.judge(run, asyncio.CancelledError()))
        self._threads.close()

    # ------------------------------------------------------------------------------------------------ starting

    def _fill(self) -> None:
        """Have waiting jobs started while there are slots, in a task that carries their first steps."""
        if not self._is_filling and self._waiting and len(self._running) < self._options.concurrency:
            self._is_filling = True
            self._carrier = spawn_apart(self._carry(), name="carrier")
        elif len(self._waiting) <= self.low_water:
            self._ring()

    async def _carry(self) -> None:
        """Start waiting jobs. The first one whose handler waits for something keeps this task, and another one goes on."""
        run, rest = None, None
        try:
            concurrency, running, waiting = self._options.concurrency, self._running, self._waiting
            budget = FILL_JOBS_MAX
            boot = self._clock.boottime()
            while waiting and len(running) < concurrency and budget and rest is None:
                budget -= 1
                run = waiting.popleft()
                rest = self._start(run, boot)
        finally:
            self._is_filling = False
        if rest is not None and run is not None:
            run.task = self._carrier
        self._fill()
        if rest is not None:
            await rest

    def _start(self, run: Run, boot: float) -> Rest | None:
        """Start one job, unless it was stopped while it waited; what is left of an async one is the present task's to await."""
        if self._book.is_fenced(run, boot):
            self.lose(run)
        if run.stop_reason is not None:
            self._end(run, outcomes.cancelled())
            return None
        spec = self._registry.get(run.lease.job_type)
        self._running.add(run)
        if spec is None:
            self._end(run, outcomes.of_error(LookupError(f"this worker has no handler for {run.lease.job_type!r}")))
        elif spec.is_isolated or run.lease.is_isolated:
            run.task = spawn_apart(self._run_isolated(run, spec), name=spec.name)
        elif spec.name in self._waiting_handlers:
            run.task = spawn_apart(self._run_async(run, spec), name=spec.name, context=self._context.copy())
        elif spec.is_async:
            rest = first_step(self._run_async(run, spec), self._context.copy())
            if rest is not None:
                self._waiting_handlers.add(spec.name)
            return rest
        else:
            self._start_thread(run, spec)
        return None

    def _mark_started(self, run: Run, spec: HandlerSpec) -> None:
        started_at = run.started_at = self._monotonic()
        run.deadline_at = started_at + verdict.timeout_s(run, spec)
        if run.trace is not None:
            run.trace.start()

    async def _run_async(self, run: Run, spec: HandlerSpec) -> None:
        if run.stop_reason is not None:  # between the making of its task and its first step
            self._end(run, verdict.judge(run, asyncio.CancelledError()))
            return
        self._mark_started(run, spec)
        enter(run)
        try:
            value = await spec.function(Context(run.lease, run, self._surroundings), **spec.parse(run.lease.data_json))
        except GeneratorExit:  # the loop is gone
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, ends its job and not the worker
            outcome = verdict.judge(run, error)
        else:
            outcome = outcomes.of_value(value)
        self._end(run, outcome)

    async def _run_isolated(self, run: Run, spec: HandlerSpec) -> None:
        if run.stop_reason is not None:
            self._end(run, verdict.judge(run, asyncio.CancelledError()))
            return
        run.is_isolated = True
        self._mark_started(run, spec)
        try:
            outcome = await self._isolated.run(run, spec)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - a process that cannot be started fails its job, not the worker
            outcome = verdict.judge(run, error)
        self._end(run, outcome)

    def _start_thread(self, run: Run, spec: HandlerSpec) -> None:
        run.is_thread = True
        self._mark_started(run, spec)
        loop = asyncio.get_running_loop()
        self._threads.submit(partial(copy_context().run, self._call, run, spec, loop))

    def _call(self, run: Run, spec: HandlerSpec, loop: asyncio.AbstractEventLoop) -> None:
        """Run a plain handler; in its thread."""
        enter(run)
        outcome = verdict.call_plain(run, spec, Context(run.lease, run, self._surroundings))
        with suppress(RuntimeError):  # the loop is closed: the run was left long ago
            loop.call_soon_threadsafe(self._end, run, outcome)

    # -------------------------------------------------------------------------------------------------- ending

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Free the slot, report the outcome unless it does not count any more, and start the next one."""
        self._running.discard(run)
        self.ended_total += 1
        if run.outcome is None and not run.is_left:
            self._report(run, outcome)
        if self._is_draining:
            self._changed.set()
        elif self._waiting:
            self._fill()
        elif self.low_water >= 0:
            self._ring()

    def _report(self, run: Run, outcome: Outcome) -> None:
        if run.stop_reason is StopReason.LOST:
            if run.trace is not None and run.started_at is not None:
                run.trace.lost()
            return
        if run.started_at is not None:
            outcome.ran_s = self._monotonic() - run.started_at
        run.outcome = outcome
        if run.trace is not None and run.started_at is not None:
            run.trace.end(outcome)
        self._settle(run)

    def _stop(self, run: Run, reason: StopReason) -> None:
        """Tell a run to stop. A job that still waits for its slot ends as its turn comes."""
        is_told = run.stop_reason is not None
        run.stop_reason = reason
        if run not in self._running:
            return
        if not is_told:
            run.stopped_at = self._monotonic()
        if run.is_thread:
            if reason is StopReason.TIMEOUT:  # a thread cannot be stopped, but its job need not wait for it
                self._tell(ThreadTimedOut(*_ids(run)))
                self._report(run, verdict.timed_out(run))
        elif run.task is not None and (run.started_at is not None):
            run.task.cancel()

    def _grace_s(self, run: Run) -> float:
        return self._options.cancel_grace_s + (ISOLATED_KILL_S if run.is_isolated else 0.0)

    def _leave(self, run: Run) -> None:
        """Stop waiting for a handler that does not stop: its lease is renewed no more. A thread keeps its slot."""
        run.is_left = True
        self._book.drop(run)
        self._tell(HandlerLeft(*_ids(run), run.is_thread))
        if run.is_thread:
            return
        self._running.discard(run)
        if run.task is not None:
            if run.is_isolated:
                run.task.cancel()  # the second time: its process is killed
            self._left.add(run.task)
            run.task.add_done_callback(self._left.discard)
        if not self._is_draining:
            self._fill()

    def _release_waiting(self) -> None:
        while self._waiting:
            run = self._waiting.popleft()
            self._report(run, outcomes.released() if run.stop_reason is None else outcomes.cancelled())

    def _live(self) -> list[Run]:
        """List the running jobs whose end still counts."""
        return [run for run in self._running if run.outcome is None and not run.is_left]

    async def _until_idle(self, seconds: float, *, heeds_abort: bool) -> None:
        """Wait until nothing runs whose end counts, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._live() and not (heeds_abort and self._is_aborted):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass


def enter(run: Run) -> None:
    """Be in a run's handler: what is logged and traced in this context from now on is of its job."""
    handle(run.lease)
    if run.trace is not None:
        run.trace.enter()


def _ids(run: Run) -> tuple[UUID, str, int, str | None, str | None]:
    """What every event of one job says of it."""
    lease = run.lease
    return lease.job_id, lease.tenant, lease.standing.attempt, lease.correlation_id, lease.trace_id
