"""Keep the leases, off the handlers' event loop: a handler that blocks it must not cost its neighbours their leases.

A thread of its own, with its own event loop and its own Backend. Every TICK_S it looks at the book: a run that started, told progress
or has used a third of its lease gets a beat. What the database answers goes back to the main loop. The fence itself (a lease not
renewed in time is taken for lost) is the executor's sweep, since it must hold while a beat hangs here. How the two threads share runs
is told in run.py.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.lease import Beat, BeatStatus, Directive
from jobqueue.worker.backend import Backend, OpenBackend
from jobqueue.worker.events import BackendFailed, LoopLagged, Tell
from jobqueue.worker.options import WorkerOptions, backoff_s
from jobqueue.worker.run import Book, Run, StopReason

TICK_S: Final = 0.25
"""CONTRACT 3.3: a start is reported at most this late."""

BEATS_MAX: Final = 500
LAG_S_MAX: Final = 1.0
"""A main loop that does not answer for this long is told of, once until it answers."""

STOP_S_MAX: Final = 5.0


class Heartbeater:
    """Renews leases, reports starts and progress, learns of losses and cancellations."""

    name = "heartbeater"

    def __init__(
        self,
        *,
        open_backend: OpenBackend,
        book: Book,
        options: WorkerOptions,
        clock: Clock,
        tell: Tell,
        on_lost: Callable[[Run], None],
        on_cancel: Callable[[Run], None],
        on_directive: Callable[[Directive], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """open_backend is called in the thread, on_lost, on_cancel and on_directive in the main loop."""
        self._open_backend = open_backend
        self._book = book
        self._cancel_grace_s = options.cancel_grace_s
        self._clock = clock
        self._tell = tell
        self._on_lost = on_lost
        self._on_cancel = on_cancel
        self._on_directive = on_directive
        self._directive = Directive.RUN
        self._draw = draw
        self._main: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: asyncio.Event | None = None
        self._is_stopping = False
        self._starts_awaited: dict[Run, asyncio.Future[bool]] = {}  # written by the main loop
        self._pinged_at: float | None = None
        self._is_lag_told = False

    # -------------------------------------------------------------------------------------- in the main loop

    async def run(self) -> None:
        """Have the thread run until cancelled; ends early, with an error, only if the thread does."""
        self._main = asyncio.get_running_loop()
        ended: asyncio.Future[None] = self._main.create_future()
        thread = threading.Thread(target=self._run_thread, args=(self._main, ended), name=self.name, daemon=True)
        thread.start()
        try:
            await asyncio.shield(ended)
            raise RuntimeError("the heartbeater's thread ended")
        finally:
            self._is_stopping = True
            self._ring()
            await asyncio.wait([ended], timeout=STOP_S_MAX)

    async def report_start(self, run: Run) -> bool:
        """Return once the database knows that the run has started; False if its lease is lost."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._starts_awaited[run] = answer
        self._ring()
        try:
            return await answer
        finally:
            del self._starts_awaited[run]

    def _ring(self) -> None:
        loop, bell = self._loop, self._bell
        if loop is None or bell is None:
            return  # not up yet: its first tick will see it
        with suppress(RuntimeError):  # over already
            loop.call_soon_threadsafe(bell.set)

    def _answer_start(self, run: Run, is_ours: bool) -> None:
        answer = self._starts_awaited.get(run)
        if answer is not None and not answer.done():
            answer.set_result(is_ours)

    def _pong(self) -> None:
        self._pinged_at = None

    # ------------------------------------------------------------------------------------------ in the thread

    def _run_thread(self, main: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            with suppress(RuntimeError):  # the main loop is closed: nobody waits
                main.call_soon_threadsafe(_finish, ended)

    async def _serve(self) -> None:
        self._loop, self._bell = asyncio.get_running_loop(), asyncio.Event()
        backend = self._open_backend()
        async with asyncio.TaskGroup() as group:
            pulse = spawn(group, self._beat_pulse(), "pulse")
            await self._beat_on(backend)
            pulse.cancel()

    async def _beat_pulse(self) -> None:
        """Say again and again that the interpreter runs, also while a beat waits for its answer."""
        while True:
            self._book.beat_pulse(self._clock.boottime())
            await self._clock.sleep(TICK_S)

    async def _beat_on(self, backend: Backend) -> None:
        is_open = False
        failures = 0
        while not self._is_stopping:
            try:
                if not is_open:
                    await backend.open()
                    is_open = True
                self._watch_main_loop()
                await self.tick(backend)
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, the leases need the next beat
                failures += 1
                self._tell(BackendFailed("heartbeat", error, failures))
            await self._rest(backoff_s(failures, jitter=self._draw()) if failures else TICK_S)
        if is_open:
            await backend.close()

    async def _rest(self, seconds: float) -> None:
        assert self._bell is not None
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    async def tick(self, backend: Backend) -> None:
        """Beat once for every run that needs it."""
        boot, now = self._clock.boottime(), self._clock.monotonic()
        due = [run for run in self._book.snapshot() if self._is_due(run, boot, now)]
        for at in range(0, max(1, len(due)), BEATS_MAX):  # once without beats too: it says that the worker lives
            await self._beat(backend, due[at : at + BEATS_MAX])

    def _is_due(self, run: Run, boot: float, now: float) -> bool:
        if run.stop_reason is StopReason.LOST or (run.outcome is None and now >= run.deadline_at + self._cancel_grace_s):
            return False
        if boot >= run.renew_at:
            return True
        if run.outcome is not None or run.started_at is None:
            return False
        return not run.is_start_reported or run.progress_told != run.progress_reported

    async def _beat(self, backend: Backend, runs: list[Run]) -> None:
        told = [run.progress_told for run in runs]  # before the progress itself: what is told meanwhile is sent again
        now, sent_at = self._clock.monotonic(), self._clock.boottime()
        beats = [_beat(run, now) for run in runs]
        statuses = await backend.heartbeat(beats)
        assert len(statuses) == len(beats), f"{len(statuses)} answers for {len(beats)} beats"
        if backend.directive is not self._directive:
            self._directive = backend.directive
            self._hand_over(self._on_directive, self._directive)
        for run, beat, progress_told, status in zip(runs, beats, told, statuses, strict=True):
            if status is BeatStatus.LOST:
                self._hand_over(self._on_lost, run)
            elif status is not BeatStatus.BUSY:
                run.renewed(sent_at=sent_at)
                run.progress_reported = progress_told
                run.is_start_reported = beat.started_ago_s is not None
                if status is BeatStatus.CANCEL_REQUESTED and not run.is_cancel_told:
                    run.is_cancel_told = True
                    self._hand_over(self._on_cancel, run)
            if run in self._starts_awaited and (run.is_start_reported or status is BeatStatus.LOST):
                self._hand_over(self._answer_start, run, status is not BeatStatus.LOST)

    def _watch_main_loop(self) -> None:
        """Ping the main loop, and tell if it has not answered the last ping for long."""
        now = self._clock.monotonic()
        pinged_at = self._pinged_at
        if pinged_at is None:
            self._is_lag_told = False
            self._pinged_at = now
            self._hand_over(self._pong)
        elif now - pinged_at >= LAG_S_MAX and not self._is_lag_told:
            self._is_lag_told = True
            self._tell(LoopLagged(now - pinged_at))

    def _hand_over(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._main is not None
        try:
            self._main.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._is_stopping = True  # the main loop is closed


def _beat(run: Run, now: float) -> Beat:
    lease, started_at = run.lease, run.started_at
    started_ago_s = None if started_at is None else max(0.0, now - started_at)
    if run.progress_told == run.progress_reported:
        return Beat(lease.job_id, lease.token, started_ago_s)
    return Beat(lease.job_id, lease.token, started_ago_s, run.percent, run.message)


def _finish(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
