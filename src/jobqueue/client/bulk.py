"""Many jobs cut into batches the API takes, and files sent as streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobqueue.client import calls
from jobqueue.client.call import Query
from jobqueue.client.new_job import NewJob
from jobqueue.domain.errors import InvalidFields
from jobqueue.protocol.batches import JOBS_MAX

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Half of what the API takes: the last job of a batch may be a large one."""
CHUNK_BYTES: Final = 256 * 1024
IMPORT_S_MAX: Final = 300.0
"""How long the API may take for its answer once it has the whole file; it stores rows as they come."""
MEDIA_TYPES: Final = {"csv": "text/csv", "ndjson": "application/x-ndjson", "jsonl": "application/x-ndjson"}

OnProgress = Callable[[int, int | None], None]
"""Told how much is done, and of how much where that is known."""


def batches(jobs: Iterable[NewJob], *, batch_size: int) -> Iterator[list[bytes]]:
    """Cut jobs into batches by number and bytes, each job encoded; lazily, so the jobs may be a generator without end."""
    assert 1 <= batch_size <= JOBS_MAX
    batch: list[bytes] = []
    size = 0
    for job in jobs:
        encoded = calls.batch_job(job)
        if batch and (len(batch) == batch_size or size + len(encoded) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class FileImport:
    """A file to import: where it is, what it is, and what its rows become."""

    path: Path
    media_type: str
    query: Query
    size: int

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], *, job_type: str, queue: str, priority: str, key_column: str | None, file_format: str | None
    ) -> FileImport:
        """Look at the file. Raises InvalidFields for a kind of file the API does not take, OSError."""
        place = Path(path)
        kind = file_format or place.suffix.lstrip(".").lower()
        if kind not in MEDIA_TYPES:
            raise InvalidFields([("/file_format", f"cannot import {kind or 'a file without suffix'}; there are {', '.join(MEDIA_TYPES)}")])
        query = [("job_type", job_type), ("queue", queue), ("priority", priority)]
        if key_column is not None:
            query.append(("key_column", key_column))
        return cls(place, MEDIA_TYPES[kind], query, place.stat().st_size)

    def request(self) -> dict[str, Any]:
        """Say what to send, beside the stream."""
        return {"params": list(self.query), "headers": {"Content-Type": self.media_type}}

    def chunks(self, on_progress: OnProgress | None) -> Iterator[bytes]:
        """Read the file from its start."""
        sent = 0
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                sent += len(chunk)
                if on_progress is not None:
                    on_progress(sent, self.size)
