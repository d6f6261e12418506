"""A file of rows, each a job: read from the socket as it comes and stored batch by batch, so that memory does not grow with the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsWriter
from jobqueue.api.bodies import json_response
from jobqueue.api.context import context_of
from jobqueue.api.openapi import documented
from jobqueue.api.row_jobs import RowJob, RowJobs, RowTerms
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import PRIORITY_NUMBERS
from jobqueue.api.submitted import submitting, tell_submitted, trace_stored
from jobqueue.domain import errors
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import HeaderInvalid, IdempotencyKeyReused, MediaTypeRefused
from jobqueue.domain.job import JOB_TYPE, QUEUE_NAME, JobRequest, Submitted
from jobqueue.operations.imports import ImportRun, Imports, is_full
from jobqueue.protocol import batches as shapes
from jobqueue.protocol.rows import BadRow, CsvRows, JsonRows, RowReader

CSV, NDJSON = "text/csv", "application/x-ndjson"
MEDIA_TYPES: Final = (CSV, NDJSON)
CHARSETS: Final = ("utf-8", "utf8", "us-ascii")
FILE: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        CSV: {"schema": {"type": "string"}, "example": "id,name\n1,Ada\n2,Grace\n"},
        NDJSON: {"schema": {"type": "string"}, "example": '{"id": 1, "name": "Ada"}\n{"id": 2, "name": "Grace"}\n'},
    },
}

JobTypeQuery = Annotated[str, Query(pattern=f"^{JOB_TYPE.pattern}$", description="The type of all its jobs.")]
QueueQuery = Annotated[str, Query(pattern=f"^{QUEUE_NAME.pattern}$", description="The queue of all its jobs.")]
PriorityQuery = Annotated[Literal["critical", "high", "normal", "low"], Query(description="The priority of all its jobs.")]
KeyColumn = Annotated[
    str | None, Query(min_length=1, max_length=255, description="Whose value is the row's idempotency key; else its content makes one.")
]


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = ImportRoutes(services)
    router = APIRouter(tags=["jobs"])
    imported = documented(
        {200: ("What became of the rows.", shapes.ImportResult)}, *(errors.SubmitInProgress, errors.QueueFull, MediaTypeRefused)
    )
    imported["openapi_extra"]["requestBody"] = FILE
    router.add_api_route("/v1/jobs/import", routes.run, methods=["POST"], operation_id="import_jobs", **imported)
    return router


class ImportRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._submitter = services.submitter
        self._telemetry = services.telemetry
        self._traces = services.traces
        self._imports = Imports()

    async def run(
        self,
        request: Request,
        caller: JobsWriter,
        job_type: JobTypeQuery,
        queue: QueueQuery = "default",
        priority: PriorityQuery = "normal",
        key_column: KeyColumn = None,
    ) -> Response:
        """Make a job of each row of a CSV file (its first row names the fields) or of each line of JSON; of any length.

        Rows are stored as they come. An import that broke off, or met a full queue, is run again as it is: it goes on where it was, and
        what is stored is counted as replayed. Rows that cannot be a job are told and left out.
        """
        reader = open_reader(request, key_column=key_column)
        context = context_of(request.scope)
        terms = RowTerms(job_type, queue, PRIORITY_NUMBERS[priority], key_column, context.correlation_id, context.traceparent)
        rows = RowJobs(terms, priority_name=priority)

        async def store(jobs: Sequence[JobRequest]) -> Sequence[Submitted | IdempotencyKeyReused]:
            return await self._store(caller, jobs)

        try:
            async with self._imports.run(store) as run:
                await _pass_on(request, reader, rows, run)
        finally:
            rows.close()
        counts = run.counts
        shown = [{"line": line, "detail": detail} for line, detail in sorted(counts.errors)]
        totals = {name: getattr(counts, name) for name in ("created", "replayed", "conflicts", "invalid")}
        return json_response({**totals, "errors": shown})

    async def _store(self, caller: Principal, jobs: Sequence[JobRequest]) -> Sequence[Submitted | IdempotencyKeyReused]:
        with submitting(self._traces, caller.tenant, jobs) as spans:
            stored = await self._submitter.submit_many(caller.tenant_id, jobs)
            trace_stored(spans, stored)
        tell_submitted(self._telemetry, caller.tenant, jobs, stored)
        return stored


def open_reader(request: Request, *, key_column: str | None) -> RowReader:
    """Choose how to read the file. Raises MediaTypeRefused, HeaderInvalid."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    media_type = kind.strip().lower()
    if media_type not in MEDIA_TYPES:
        raise MediaTypeRefused(f"an import is {' or '.join(MEDIA_TYPES)}")
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().lower().partition("=")
        if name == "charset" and value.strip('"') not in CHARSETS:
            raise HeaderInvalid("an import is UTF-8", header="Content-Type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HeaderInvalid("an import is not unpacked: send it as it is", header="Content-Encoding")
    return CsvRows(key_column=key_column) if media_type == CSV else JsonRows()


async def _pass_on(request: Request, reader: RowReader, rows: RowJobs, run: ImportRun) -> None:
    """Read the file to its end and put its rows, batch by batch; while as many batches are under way as may be, nothing is read."""
    batch: list[RowJob] = []
    batch_bytes = 0
    async for chunk in _chunks(request):
        for row in reader.finish() if chunk is None else reader.feed(chunk):
            found = row if isinstance(row, BadRow) else rows.read(row)
            if isinstance(found, BadRow):
                run.counts.refuse(found.line, found.detail)
                continue
            batch.append(found)
            batch_bytes += len(found.job.data_json)
            if is_full(len(batch), batch_bytes):
                await _put(rows, run, batch)
                batch, batch_bytes = [], 0
    if batch:
        await _put(rows, run, batch)


async def _put(rows: RowJobs, run: ImportRun, batch: list[RowJob]) -> None:
    await asyncio.to_thread(rows.give_keys, batch)
    await run.put([row.line for row in batch], [row.job for row in batch])


async def _chunks(request: Request) -> AsyncIterator[bytes | None]:
    """The body as it comes, then None. Raises ClientDisconnect when it breaks off."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        if not message.get("more_body", False):
            yield None
            return
