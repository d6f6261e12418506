"""The client for an event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx2

from jobqueue.aio.clock import SystemClock
from jobqueue.client import calls
from jobqueue.client.async_handle import AsyncJobHandle
from jobqueue.client.bulk import FileImport, OnProgress, batches
from jobqueue.client.calls import Several
from jobqueue.client.new_job import JobType, NewJob, make_key
from jobqueue.client.retries import RetryPlan
from jobqueue.client.transport import AsyncTransport
from jobqueue.client.waiting import EndWait, check_succeeded
from jobqueue.client.watching import Told, Watch, follow_async
from jobqueue.domain.job_filter import BULK_MAX, PAGE_SIZE_MAX
from jobqueue.protocol.access import Me
from jobqueue.protocol.batches import JOBS_MAX, BatchResult, ImportResult
from jobqueue.protocol.filters import JobsPage, ListedJob
from jobqueue.protocol.jobs import Job, JobEvent, JobResult, JobStats
from jobqueue.protocol.queues import Queue, QueuesStats

TIMEOUT_S: Final = 10.0
RETRY_FOR_S: Final = 60.0


class AsyncClient:
    """Speaks to the service over HTTP.

    Every call has a deadline and raises an error of `jobqueue.domain.errors` or `jobqueue.client.problems`, each a class of its own:
    `NotFound`, `WrongState`, `QueueFull`, `Unauthenticated`, `Unreachable` and so on, all of them `JobQueueError`. What may pass later (no
    answer, 503, 429, a twin under way) is tried again for `retry_for` seconds, after what Retry-After says; a submit is repeated under
    the same idempotency key, so it never makes two jobs. Use it as a context manager, or close it.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        timeout: float = TIMEOUT_S,
        retry_for: float = RETRY_FOR_S,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """url: where the API is, such as http://127.0.0.1:8000. api_key: a key, or a token. Nothing is sent yet.

        timeout: seconds one request may take. retry_for: seconds a call is tried again in all, 0 for never. transport: for tests.
        """
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._plan = RetryPlan(retry_for)
        self._transport = AsyncTransport(url, api_key=api_key, timeout_s=timeout, plan=self._plan, transport=transport)
        self._clock = SystemClock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    # ------------------------------------------------------------------------------------------------ in

    async def submit(
        self,
        job_type: JobType,
        data: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        queue: str | None = None,
        priority: str = "normal",
        max_attempts: int | None = None,
        scheduled_at: datetime | None = None,
        delay: float | timedelta | None = None,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - the job's, not the call's
        expires_in: float | timedelta | None = None,
        concurrency_key: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        wait: int | None = None,
    ) -> AsyncJobHandle:
        """Store one job; it is committed when this returns. The fields are those of `NewJob`.

        job_type: a name, or a function decorated with `@job`, whose name, queue and max_attempts count where none are given here.
        wait: answer when the job has ended, after so many seconds at the most (30). correlation_id: 1-128 printable ASCII characters, on
        every log line and event of the job. Raises IdempotencyKeyReused, QueueFull, InvalidFields and what every call raises.
        """
        job = NewJob(
            job_type=job_type,
            data=data or {},
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            scheduled_at=scheduled_at,
            delay=delay,
            timeout=timeout,
            expires_in=expires_in,
            concurrency_key=concurrency_key,
            tags=tags,
            metadata=metadata or {},
        )
        call = calls.submit(job, key=idempotency_key or make_key(), correlation_id=correlation_id, traceparent=traceparent, wait_s=wait)
        stored, is_replayed = await self._transport.send(call)
        return AsyncJobHandle(self, stored, is_replayed=is_replayed)

    async def submit_many(
        self, jobs: Iterable[NewJob], *, batch_size: int = JOBS_MAX, on_progress: OnProgress | None = None
    ) -> list[BatchResult]:
        """Store many jobs, in batches of at most batch_size (1-1,000) and 8 MiB; answers what became of each, in order.

        Each batch is stored whole or, when one of its jobs is not valid, not at all; batches before it stay stored, and sending all again
        under the same keys adds nothing. A `conflict` is a job whose key was used with another body. on_progress: told after each batch how
        many jobs are done. Raises InvalidFields, with pointers into its batch, QueueFull and what every call raises.
        """
        results: list[BatchResult] = []
        for batch in batches(jobs, batch_size=batch_size):
            results += (await self._transport.send(calls.submit_batch(batch))).results
            if on_progress is not None:
                on_progress(len(results), None)
        return results

    async def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        job_type: str,
        queue: str = "default",
        priority: str = "normal",
        key_column: str | None = None,
        file_format: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> ImportResult:
        """Make a job of each row of a CSV file or line of an NDJSON file, streamed; of any size.

        key_column: whose values are the idempotency keys; None: a hash of the row. file_format: csv, ndjson or jsonl, else the suffix
        says. on_progress: told the bytes sent, and of how many. An import that broke off is started again, and adds nothing twice.
        """
        asked = FileImport.of(path, job_type=job_type, queue=queue, priority=priority, key_column=key_column, file_format=file_format)
        return await self._transport.send_file(asked, on_progress)

    # ---------------------------------------------------------------------------------------------- read

    def handle(self, job: Job) -> AsyncJobHandle:
        """Make a handle of a job that was read."""
        return AsyncJobHandle(self, job)

    async def get(self, job_id: UUID | str, *, wait: int = 0) -> Job:
        """Read a job; wait: when it has ended, or after so many seconds (at most 30). Raises NotFound."""
        return await self._transport.send(calls.get(job_id, wait_s=wait))

    async def wait(self, job_id: UUID | str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the contract's name
        """Wait for a job's end, however it ends. timeout: seconds, None for ever. Raises NotFound, WaitTimedOut (a TimeoutError)."""
        end_wait = EndWait(job_id, timeout_s=timeout, plan=self._plan)
        while True:
            job = await self._transport.send(end_wait.next_call(), plan=end_wait.plan)
            pause_s = end_wait.pause_s(job)
            if pause_s is None:
                return job
            await self._clock.sleep(pause_s)

    async def result(self, job_id: UUID | str, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the contract's name
        """Wait for a job's end and return its result. timeout: seconds, None for ever.

        Raises JobNotSucceeded when it ended otherwise, WaitTimedOut (a TimeoutError) when it has not, NotFound.
        """
        check_succeeded(await self.wait(job_id, timeout=timeout))
        return (await self._transport.send(calls.result(job_id))).result

    async def ended(self, job_id: UUID | str) -> JobResult:
        """Read how a job ended, with result and reference. Raises NotFinished at once while it has not; NotFound."""
        return await self._transport.send(calls.result(job_id), plan=RetryPlan(0))

    async def events(self, job_id: UUID | str) -> AsyncIterator[JobEvent]:
        """Read a job's whole history in order. Raises NotFound."""
        cursor: str | None = None
        while True:
            page = await self._transport.send(calls.events(job_id, cursor=cursor))
            for event in page.items:
                yield event
            if not page.has_more:
                return
            cursor = page.next_cursor

    async def page(
        self,
        *,
        cursor: str | None = None,
        page_size: int = PAGE_SIZE_MAX,
        status: Several = (),
        queue: Several = (),
        job_type: Several = (),
        priority: Several = (),
        tag: Several = (),
        correlation_id: Several = (),
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> JobsPage:
        """Read one page of jobs, newest first, without their data; it may be short while has_more is true. Filters as in `iterate`."""
        query = calls.filter_query(
            status=status,
            queue=queue,
            job_type=job_type,
            priority=priority,
            tag=tag,
            correlation_id=correlation_id,
            created_after=created_after,
            created_before=created_before,
        )
        return await self._transport.send(calls.jobs_page(query, cursor=cursor, page_size=page_size))

    async def iterate(self, *, page_size: int = PAGE_SIZE_MAX, **filters: Any) -> AsyncIterator[ListedJob]:
        """Read all jobs of a filter, newest first, page after page, without their data.

        filters: status, queue, job_type, priority, tag, correlation_id (one value or several: any of them, of tags all), created_after,
        created_before (with an offset).
        """
        cursor: str | None = None
        while True:
            page = await self.page(cursor=cursor, page_size=page_size, **filters)
            for job in page.items:
                yield job
            if not page.has_more:
                return
            cursor = page.next_cursor

    async def watch(
        self,
        *,
        queue: Several = (),
        job_type: Several = (),
        job_id: Several = (),
        after: str | None = None,
        snapshot: bool = False,
        latest: bool = False,
    ) -> AsyncIterator[Told]:
        """Follow what happens to jobs, as it happens: in order for each job, none missing, none twice, until the caller stops.

        queue, job_type, job_id: one value or several, any of them. after: the `cursor` of the last message known; None: from now on.
        snapshot: begin with the jobs as they are. latest: only the newest state of each job, for screens. A stream that breaks off comes
        back by itself where it was. Raises Unauthenticated, ScopeMissing, InvalidFields, and Unreachable when the service stays away for
        longer than `retry_for`.
        """
        watch = Watch(
            self.url,
            self._api_key,
            queue=queue,
            job_type=job_type,
            job_id=job_id,
            after=after,
            snapshot=snapshot,
            latest=latest,
            retry_for_s=self._plan.for_s,
        )
        async for told in follow_async(watch, self._clock):
            yield told

    async def stats(self) -> JobStats:
        """Count the tenant's kept jobs by status."""
        return await self._transport.send(calls.stats())

    async def queue_stats(self, *queues: str) -> QueuesStats:
        """Read queues' figures, of all or of those named; 0 for a queue nobody used."""
        return await self._transport.send(calls.queue_stats(queues))

    # -------------------------------------------------------------------------------------------- change

    async def cancel(self, job_id: UUID | str) -> Job:
        """Cancel a job: at once while it waits; one that runs is stopped by its worker. Raises NotFound, WrongState."""
        return await self._transport.send(calls.cancel(job_id))

    async def retry(self, job_id: UUID | str, *, reset_attempts: bool = True) -> Job:
        """Send a job that has ended, or waits after a failure, back to its queue.

        Raises NotFound, WrongState, AttemptsExhausted. Not repeated by itself when its answer is lost: it could run twice.
        """
        return await self._transport.send(calls.retry(job_id, reset_attempts=reset_attempts))

    async def patch(self, job_id: UUID | str, **changes: Any) -> Job:
        """Change a job that waits: priority, scheduled_at (None: now), max_attempts. Raises NotFound, WrongState, InvalidFields."""
        return await self._transport.send(calls.patch(job_id, changes))

    async def force_success(self, job_id: UUID | str, *, result: Any = None, reason: str | None = None) -> Job:
        """Declare a failed job done; its history keeps who did it. Raises NotFound, WrongState."""
        return await self._transport.send(calls.force_success(job_id, result=result, reason=reason))

    async def cancel_many(self, *, limit: int = BULK_MAX, dry_run: bool = False, **filters: Any) -> int:
        """Cancel the newest `limit` jobs of a filter that wait or run; answers how many. filters as in `iterate`; dry_run only counts."""
        query = calls.filter_query(**filters)
        return (await self._transport.send(calls.cancel_many(query, limit=limit, dry_run=dry_run))).count

    async def replay_dlq(self, *, limit: int = BULK_MAX, dry_run: bool = False, **filters: Any) -> int:
        """Send jobs of the dead letter queue back, their attempts reset; answers how many. filters as in `iterate`, without status."""
        query = calls.filter_query(**filters)
        return (await self._transport.send(calls.replay_dlq(query, limit=limit, dry_run=dry_run))).count

    # -------------------------------------------------------------------------------------------- queues

    async def queues(self) -> AsyncIterator[Queue]:
        """Read all queues the tenant used or set, by name."""
        cursor: str | None = None
        while True:
            page = await self._transport.send(calls.queues_page(cursor=cursor, page_size=PAGE_SIZE_MAX))
            for queue in page.items:
                yield queue
            if not page.has_more:
                return
            cursor = page.next_cursor

    async def queue(self, name: str) -> Queue:
        """Read a queue's settings."""
        return await self._transport.send(calls.queue(name))

    async def change_queue(self, name: str, **changes: Any) -> Queue:
        """Change a queue's settings: paused, max_concurrent, key_max_concurrent, rate_per_second, max_attempts, retry_base_seconds."""
        return await self._transport.send(calls.change_queue(name, changes))

    async def pause_queue(self, name: str) -> Queue:
        """Have no more jobs of a queue claimed; those that run go on."""
        return await self._transport.send(calls.pause_queue(name, is_paused=True))

    async def resume_queue(self, name: str) -> Queue:
        """Have jobs of a queue claimed again."""
        return await self._transport.send(calls.pause_queue(name, is_paused=False))

    # --------------------------------------------------------------------------------------------- other

    async def me(self) -> Me:
        """Ask whom the credential speaks for. Raises Unauthenticated."""
        return await self._transport.send(calls.me())

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
        wait_s: float = 0.0,
    ) -> Any:
        """Make any other call of the API; answers its JSON.

        is_repeatable: it may be sent again when its answer did not come; None: if its method says so (not POST). wait_s: how long the
        server may take on top of the usual time.
        """
        may_repeat = method.upper() != "POST" if is_repeatable is None else is_repeatable
        return await self._transport.send(
            calls.other(method, path, query=query, body=body, headers=headers or {}, is_repeatable=may_repeat, wait_s=wait_s)
        )
