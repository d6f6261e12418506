"""The blocking face of apps/trial.py: an event loop in a thread of its own, so that tests of every kind may use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from jobqueue.aio.supervise import spawn
from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.apps.trial import Ran, Trial, trial, trial_server
from jobqueue.client.blocking_client import Client
from jobqueue.client.handle import JobHandle
from jobqueue.client.new_job import JobType

Answer = TypeVar("Answer")

STOP_S_MAX: Final = 30.0
MARGIN_S: Final = 10.0
"""What a call may take beyond what it was given, before it is given up."""


class QueueServer:
    """A Postgres for queues to be tested on, while the block runs."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._thread = threading.Thread(target=self._run, name="job-queue", daemon=True)
        self._started: Future[None] = Future()
        self._stopping = asyncio.Event()
        self._server: EmbeddedServer | None = None
        self._group: asyncio.TaskGroup | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._runner.get_loop().call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_S_MAX)

    @contextmanager
    def queue(self, **settings: str) -> Iterator[TestQueue]:
        """Make an empty queue. settings: those of docs/settings.md under their names, such as JOBQUEUE_FILES_DIR="/tmp/files"."""
        assert self._server is not None, "use it as a context manager"
        held = _Held(trial(self._server, settings))
        found = self.do(self._open(held))
        try:
            with Client(found.url, api_key=found.api_key) as client:
                yield TestQueue(self, found, client)
        finally:
            self.do(held.leave())

    def do(self, work: Coroutine[Any, Any, Answer], *, seconds_max: float | None = None) -> Answer:
        """Run something on the loop's thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._runner.get_loop()).result(seconds_max)

    def _run(self) -> None:
        with self._runner:
            try:
                self._runner.run(self._serve())
            except BaseException as error:
                if self._started.done():
                    raise
                self._started.set_exception(error)

    async def _serve(self) -> None:
        async with trial_server() as self._server, asyncio.TaskGroup() as self._group:
            self._started.set_result(None)
            await self._stopping.wait()

    async def _open(self, held: _Held) -> Trial:
        assert self._group is not None
        spawn(self._group, held.hold(), "trial")
        return await held.entered


class TestQueue:
    """One test's queue. url and api_key are of its API, for the code under test; client speaks to it."""

    __test__ = False  # pytest: no test, whatever the name says

    def __init__(self, server: QueueServer, found: Trial, client: Client) -> None:
        self._server = server
        self._trial = found
        self.client = client
        self.url = found.url
        self.api_key = found.api_key

    def submit(self, job_type: JobType, data: Mapping[str, Any] | None = None, **fields: Any) -> JobHandle:
        """Store a job; fields as of `Client.submit`. It runs with the next run_all()."""
        return self.client.submit(job_type, data, **fields)

    def run_all(
        self, handlers: Iterable[str] = (), *, with_scheduled: bool = False, runs_max: int = 10_000, seconds_max: float = 60.0
    ) -> list[Ran]:
        """Run what is due, and what comes of it, until nothing is left; answers each run in the order they ended.

        Handlers are the built-in ones and every `@job` imported so far; handlers: modules to import first. What waits for its time, or for
        a retry's backoff, waits on, unless with_scheduled. Raises StillRunning after runs_max runs or seconds_max seconds.
        """
        work = self._trial.run_all(handlers=list(handlers), with_scheduled=with_scheduled, runs_max=runs_max, seconds_max=seconds_max)
        return self._server.do(work, seconds_max=seconds_max + MARGIN_S)

    async def run_all_async(self, handlers: Iterable[str] = (), **options: Any) -> list[Ran]:
        """Do the same from a test that is a coroutine, whose event loop goes on meanwhile."""
        return await asyncio.to_thread(self.run_all, handlers, **options)


class _Held:
    """A trial held open by one task of the loop, since a task group must be left by the task that entered it."""

    def __init__(self, opening: AbstractAsyncContextManager[Trial]) -> None:
        self._opening = opening
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()
        self._entered: Future[Trial] = Future()

    @property
    def entered(self) -> asyncio.Future[Trial]:
        """Wait for the trial."""
        return asyncio.wrap_future(self._entered)

    async def hold(self) -> None:
        """Keep it until leave(). An error on the way in is the opener's, one on the way out ends the server too."""
        try:
            async with self._opening as found:
                self._entered.set_result(found)
                await self._leaving.wait()
        except Exception as error:
            if self._entered.done():
                raise
            self._entered.set_exception(error)
        finally:
            self._left.set()

    async def leave(self) -> None:
        """End it, and wait until it has ended."""
        self._leaving.set()
        await self._left.wait()
