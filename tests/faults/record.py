"""Write down what one process did and saw, as it happens: one JSON object a line, one write(2) a record.

What was written survives a SIGKILL of the writer, since the page cache does. Times are CLOCK_BOOTTIME in ns, one clock for all processes
of the machine, so records of different processes are in the order in which things happened. An `invoke` is written before the call; then
`ok` (it happened), `fail` (it certainly did not) or `info` (not known) under the same process and number.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any, Final

import orjson

DIRECTORY: Final = "JOBQUEUE_FAULTS_DIR"
"""Names the directory of the run for the processes it starts."""
NAME: Final = "JOBQUEUE_FAULTS_NAME"
"""What the run calls a process it starts."""


def now_ns() -> int:
    """Read the clock all records share."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def clock_offset_ns() -> int:
    """How far the wall clock is ahead of the records' clock; the database's times are moved by it."""
    return time.time_ns() - now_ns()


class Recorder:
    """One process's file of records. Safe from several threads."""

    def __init__(self, directory: Path, process: str) -> None:
        self.process = process
        self._numbers = itertools.count()
        self._file = os.open(directory / f"{process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @classmethod
    def of_this_process(cls) -> Recorder | None:
        """The recorder of a process a run has started; None outside a run."""
        directory = os.environ.get(DIRECTORY)
        return None if directory is None else cls(Path(directory), f"{os.environ.get(NAME, 'process')}#{os.getpid()}")

    def invoke(self, verb: str, **data: Any) -> int:
        """Write that a call is about to be made; answers its number."""
        number = next(self._numbers)
        self._write(number, "invoke", verb, data)
        return number

    def end(self, number: int, kind: str, verb: str, **data: Any) -> None:
        """Write how a call ended: kind is ok, fail or info."""
        self._write(number, kind, verb, data)

    def note(self, verb: str, **data: Any) -> None:
        """Write something that has no duration."""
        self._write(next(self._numbers), "note", verb, data)

    def _write(self, number: int, kind: str, verb: str, data: dict[str, Any]) -> None:
        record = {"p": self.process, "i": number, "t": now_ns(), "ty": kind, "f": verb, **data}
        os.write(self._file, orjson.dumps(record, default=str) + b"\n")
