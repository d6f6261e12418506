"""The process of one isolated run: `python -m jobqueue.worker.isolated_child FD`, started by isolated.py and by nobody else.

Reads its request from stdin, runs the handler, writes progress and one answer as JSON lines to FD. SIGTERM asks the handler to stop.
When stdin ends the worker is gone: then this process and all it started kill themselves.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypedDict

import orjson
from pydantic import TypeAdapter

from jobqueue.domain.lease import Lease
from jobqueue.domain.outcome import Outcome
from jobqueue.worker import memory, outcomes
from jobqueue.worker.handler import Context
from jobqueue.worker.registry import HandlerSpec
from jobqueue.worker.surroundings import Surroundings
from jobqueue.worker.text import storable

MAIN_ALIAS: Final = "__jobqueue_main__"
"""What the worker's own main script is called here: it must not see itself as the main program again."""


class Request(TypedDict):
    """What isolated.py sends."""

    lease: Any
    module: str
    qualname: str
    main_path: str | None
    name: str
    path: list[str]
    memory_bytes: int
    surroundings: Any


class Line:
    """The pipe to the worker. Lines are whole, whichever thread writes them."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def say(self, words: dict[str, Any]) -> None:
        """Write one line."""
        rest = memoryview(orjson.dumps(words) + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


class ChildRun:
    """The run as its Context sees it in here."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.is_cancelled = False

    def report_progress(self, percent: float, message: str) -> None:
        """Pass it to the worker, whose next beat takes it on."""
        self._line.say({"percent": percent, "message": storable(message)})


def main() -> None:
    """Run the one job."""
    line = Line(int(sys.argv[1]))
    request = _take_request()
    lease = TypeAdapter(Lease).validate_python(request["lease"])
    memory.bound(request["memory_bytes"])
    run = ChildRun(line)
    context = Context(lease, run, TypeAdapter(Surroundings).validate_python(request["surroundings"]))
    answer: dict[str, Any]
    try:
        spec = HandlerSpec(request["name"], _find(request))
        arguments = spec.parse(lease.data_json)
        if spec.is_async:
            answer = asyncio.run(_answer_of_async(spec, context, run, arguments))
        else:
            answer = _answer_of_plain(spec, context, run, arguments)
    except BaseException as error:  # noqa: BLE001 - whatever went wrong before the handler is its job's failure
        answer = {"outcome": outcomes.of_error(error)}
    sys.stdout.flush()
    line.say(answer)


def _take_request() -> Request:
    """Read the request, then keep the worker's end of stdin to oneself and watch it."""
    stdin = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    request: Request = orjson.loads(stdin.readline())
    sys.path[:] = request["path"]

    def watch() -> None:
        stdin.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="worker-watch", daemon=True).start()
    return request


def _find(request: Request) -> Callable[..., Any]:
    """Import the handler by the name it has in its module."""
    if "<locals>" in request["qualname"] or not request["qualname"]:
        raise ImportError(f"handler {request['name']!r} is defined inside a function; an isolated one must stand in a module")
    module = _import_main(request["main_path"]) if request["module"] == "__main__" else importlib.import_module(request["module"])
    found: Any = module
    for name in request["qualname"].split("."):
        found = getattr(found, name)
    function: Callable[..., Any] = found
    return function


def _import_main(path: str | None) -> Any:
    spec = None if path is None else importlib.util.spec_from_file_location(MAIN_ALIAS, path)
    if spec is None or spec.loader is None:
        raise ImportError("the handler stands in a program without a file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_ALIAS] = module
    spec.loader.exec_module(module)
    return module


def _answer_of_plain(spec: HandlerSpec, context: Context, run: ChildRun, arguments: dict[str, Any]) -> dict[str, Any]:
    def stop(*_: object) -> None:
        run.is_cancelled = True

    signal.signal(signal.SIGTERM, stop)
    try:
        return {"outcome": outcomes.of_value(spec.function(context, **arguments))}
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends its job
        return _answer_of_error(error)


async def _answer_of_async(spec: HandlerSpec, context: Context, run: ChildRun, arguments: dict[str, Any]) -> dict[str, Any]:
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        run.is_cancelled = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return {"outcome": outcomes.of_value(await spec.function(context, **arguments))}
    except BaseException as error:  # noqa: BLE001 - as above
        return _answer_of_error(error)


def _answer_of_error(error: BaseException) -> dict[str, Any]:
    """A cancellation is the worker's to judge: it knows why it asked for one."""
    if isinstance(error, asyncio.CancelledError):
        return {"cancelled": True}
    outcome: Outcome = outcomes.out_of_memory() if isinstance(error, MemoryError) else outcomes.of_error(error)
    return {"outcome": outcome}


if __name__ == "__main__":
    main()
