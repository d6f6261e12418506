"""An import: any number of rows through the way batches take, a bounded number under way, each batch one transaction.

Nothing of an import is remembered. It can be run again at any time, since a row's key is always the same; what is stored is replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InvalidFields,
    JobQueueError,
    Overloaded,
    QueueFull,
    SubmitInProgress,
    Unavailable,
)
from jobqueue.domain.job import JobRequest, Submitted
from jobqueue.operations.submit import MANY_MAX

UNDER_WAY_MAX: Final = 2
"""Batches of one import stored at once: one commits while the next one is read."""
IMPORTS_MAX: Final = 8
"""Imports of one process at once; more are answered 503."""
BATCH_BYTES_MAX: Final = 1024 * 1024
"""A batch is full at this much data, or at MANY_MAX rows."""
ERRORS_MAX: Final = 1_000

Store = Callable[[Sequence[JobRequest]], Awaitable[Sequence[Submitted | IdempotencyKeyReused]]]


@dataclass(slots=True)
class ImportCounts:
    """What became of the rows so far; errors: (line, what is wrong) of the first ERRORS_MAX left out."""

    created: int = 0
    replayed: int = 0
    conflicts: int = 0
    invalid: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, detail: str) -> None:
        """Count a row that cannot be a job."""
        self.invalid += 1
        self._note(line, detail)

    def add(self, lines: Sequence[int], stored: Sequence[Submitted | IdempotencyKeyReused]) -> None:
        """Count a batch."""
        for line, one in zip(lines, stored, strict=True):
            if isinstance(one, IdempotencyKeyReused):
                self.conflicts += 1
                self._note(line, f"its key was used with another content, by the job {one.job_id}")
            elif one.is_new:
                self.created += 1
            else:
                self.replayed += 1

    def _note(self, line: int, detail: str) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors.append((line, detail))


class ImportRun:
    """One import under way."""

    def __init__(self, store: Store, group: asyncio.TaskGroup) -> None:
        self.counts = ImportCounts()
        self._store = store
        self._group = group
        self._free = asyncio.Semaphore(UNDER_WAY_MAX)
        self._failure: JobQueueError | None = None

    async def put(self, lines: Sequence[int], jobs: Sequence[JobRequest]) -> None:
        """Have a batch stored; returns while it is under way, and waits while as many are as may be. Raises what an earlier one met."""
        await self._free.acquire()
        self.check()
        spawn(self._group, self._store_batch(lines, jobs), "import-batch")

    def check(self) -> None:
        """Raise what a batch met, told with what is stored."""
        if self._failure is not None:
            raise _told(self._failure, self.counts)

    async def _store_batch(self, lines: Sequence[int], jobs: Sequence[JobRequest]) -> None:
        try:
            if self._failure is None:
                self.counts.add(lines, await self._store(jobs))
        except JobQueueError as error:
            self._failure = self._failure or error
        finally:
            self._free.release()


class Imports:
    """The imports of one process."""

    def __init__(self) -> None:
        self._running = 0

    @asynccontextmanager
    async def run(self, store: Store) -> AsyncIterator[ImportRun]:
        """Import inside the block; what was put is stored, or its failure raised, when it ends. Raises Overloaded.

        An error inside the block lets what is under way come to its end, too.
        """
        if self._running >= IMPORTS_MAX:
            raise Overloaded("too many imports run in this process")
        self._running += 1
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                run = ImportRun(store, group)
                try:
                    yield run
                except Exception as error:  # noqa: BLE001 - carried out of the group, which would wrap it and end the batches under way
                    failure = error
        finally:
            self._running -= 1
        if failure is not None:
            raise failure
        run.check()


def is_full(rows: int, data_bytes: int) -> bool:
    """Say whether a batch shall go."""
    return rows >= MANY_MAX or data_bytes >= BATCH_BYTES_MAX


def _told(error: JobQueueError, counts: ImportCounts) -> JobQueueError:
    """Say with an error how far the import came."""
    said = f"{error}; {counts.created} rows are stored and {counts.replayed} were before: run the import again and it goes on"
    match error:
        case QueueFull(retry_after_s=retry_after_s):
            return QueueFull(said, retry_after_s=retry_after_s)
        case SubmitInProgress():
            return SubmitInProgress(said)
        case InvalidFields(fields=fields):
            return InvalidFields([(pointer, f"{detail}; {said}") for pointer, detail in fields])
        case Overloaded():
            return Overloaded(said)
        case Unavailable():
            return DatabaseUnavailable(said)
        case _:
            return error
