"""Run one job in a process of its own, so that what kills it kills nobody else.

The process leads a session and a process group of its own. It gets its request as one line on stdin and answers on a pipe made for
that (handlers may print); stdin stays open for as long as this worker lives, so its end tells the process to end with all it started.
The start is reported, and the report awaited, before the process exists: if the run takes the machine or this worker with it, the
database knows that it had begun (domain/outcome._after_lost).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from jobqueue.aio.supervise import spawn
from jobqueue.domain.outcome import Outcome
from jobqueue.worker import memory, outcomes
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import HandlerSpec
from jobqueue.worker.run import Run, StopReason

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""An answer holds a result of 256 KiB as a JSON string in JSON: escaping may double it, and double it again."""

EXIT_S_MAX: Final = 1.0
"""How long a process that has answered may take to end by itself."""

SHORT_GRACE_S: Final = 0.4
"""Between SIGTERM and SIGKILL when the job is not ours any more or the worker stops: somebody else may be about to run it."""

CHILD_MODULE: Final = "jobqueue.worker.isolated_child"


class IsolatedRuns:
    """Starts, listens to and ends the processes."""

    def __init__(self, *, options: WorkerOptions, report_start: Callable[[Run], Awaitable[bool]]) -> None:
        """report_start returns once the database knows of the start, False if the lease is lost."""
        self._options = options
        self._report_start = report_start

    async def run(self, run: Run, spec: HandlerSpec) -> Outcome:
        """Run the job and say how it ended.

        A first cancellation asks the process to end and gives it its grace; if it answers within that, its answer counts. After the
        grace, or by a second cancellation, the whole process group is killed and CancelledError raised. None of it is left behind.
        """
        request = _request(run, spec, self._options)
        if not await self._report_start(run):
            return outcomes.released()  # nobody will report it: the lease is lost
        async with _process() as (process, reader), asyncio.TaskGroup() as group:
            exit_watch = spawn(group, _kill_group_at_exit(process), "isolated-exit")
            try:
                answer = await self._converse(run, process, reader, request)
            finally:
                kill_group(process)
                await exit_watch
        return _read_answer(answer, process)

    async def _converse(self, run: Run, process: Process, reader: asyncio.StreamReader, request: bytes) -> Any:
        """Send the request and take progress until the answer comes; None when the process ended without one."""
        assert process.stdin is not None
        process.stdin.write(request)
        try:
            answer = await _listen(run, reader)
        except asyncio.CancelledError:
            return await self._end(run, process, reader)
        if answer is not None:
            await _within(EXIT_S_MAX, process.wait())
        return answer

    async def _end(self, run: Run, process: Process, reader: asyncio.StreamReader) -> Any:
        """Ask the process to end; its answer if it still gives one, else CancelledError."""
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        with suppress(ProcessLookupError):
            process.terminate()
        is_patient = run.stop_reason in (StopReason.TIMEOUT, StopReason.CANCELLED)
        answer = await _within(self._options.cancel_grace_s if is_patient else SHORT_GRACE_S, _listen(run, reader))
        if answer is None:
            raise asyncio.CancelledError
        return answer


@asynccontextmanager
async def _process() -> AsyncIterator[tuple[Process, asyncio.StreamReader]]:
    """Start the process with a pipe for its answer; kill what is left of it at the end."""
    read_end, write_end = os.pipe()
    pipe = os.fdopen(read_end, "rb", buffering=0)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", CHILD_MODULE, str(write_end), stdin=PIPE, pass_fds=(write_end,), start_new_session=True
            )
        finally:
            os.close(write_end)
        try:
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            try:
                yield process, reader
            finally:
                transport.close()
        finally:
            kill_group(process)
            if process.stdin is not None:
                process.stdin.close()
    finally:
        pipe.close()


async def _kill_group_at_exit(process: Process) -> None:
    """Once the process is gone, kill what it started: that may hold the pipe open, and belongs to nobody."""
    await process.wait()
    kill_group(process)


def kill_group(process: Process) -> None:
    """SIGKILL the process and all it started, as far as they stayed in its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _listen(run: Run, reader: asyncio.StreamReader) -> Any:
    """Pass on progress until the answer comes; None at the end of the pipe. May be cancelled and called again."""
    while line := await reader.readline():
        if not line.endswith(b"\n"):
            return None  # cut off in the middle
        said = orjson.loads(line)
        if "percent" not in said:
            return said
        run.report_progress(said["percent"], said["message"])
    return None


async def _within(seconds: float, work: Awaitable[Any]) -> Any:
    """Await work for at most so long; None when that was not enough."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return None


def _request(run: Run, spec: HandlerSpec, options: WorkerOptions) -> bytes:
    main = sys.modules.get("__main__")
    request = {
        "lease": run.lease,
        "module": spec.function.__module__,
        "qualname": getattr(spec.function, "__qualname__", ""),
        "main_path": getattr(main, "__file__", None),
        "name": spec.name,
        "path": sys.path,
        "memory_bytes": memory.limit_bytes(spec.memory_mib, options.isolated_memory_bytes),
        "surroundings": options.surroundings,
    }
    return orjson.dumps(request, default=str) + b"\n"  # default: asyncpg's UUID is a subclass, which orjson does not take by itself


def _read_answer(answer: Any, process: Process) -> Outcome:
    if answer is None:
        return outcomes.crashed(_describe_exit(process.returncode))
    if "cancelled" in answer:
        raise asyncio.CancelledError
    return _outcomes().validate_python(answer["outcome"])


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    from pydantic import TypeAdapter

    return TypeAdapter(Outcome)


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "it did not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
