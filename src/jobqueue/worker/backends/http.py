"""A worker's way to its jobs over HTTP: for workers anywhere, of one tenant, that hold a key and no database.

Every call is one try: the worker's actors try again themselves, since only they know how long that makes sense. A claim keeps its
`claim_id` until an answer came, so that a lost answer loses no job. Waiting is a long poll; what it brings is kept for the next claim.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import orjson

from jobqueue.aio.clock import Clock
from jobqueue.client import work
from jobqueue.client.call import encode
from jobqueue.client.retries import RetryPlan
from jobqueue.client.transport import AsyncTransport
from jobqueue.domain.errors import JobQueueError, NotFound
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.outcome import Outcome, OutcomeKind, Standing
from jobqueue.domain.retry import RetryPolicy

CALL_S_MAX: Final = 10.0
OPEN_S_MAX: Final = 30.0
"""How long a worker that starts waits for the service."""
CLOSE_S_MAX: Final = 2.0
WAIT_S_MAX: Final = 30.0
POLL_S: Final = 20.0
"""How long an idle worker's poll waits, as its poll interval; a quarter is drawn up or down."""
NO_POLICY: Final = (3, 5.0, 3600.0)
"""Crashes and delays of the policy: the service has its own and decides by that."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where the service is and what this worker takes. queues None: all of them; lease_s None: the service's own."""

    url: str
    api_key: str
    worker_name: str
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...]
    concurrency: int
    version: str
    lease_s: float | None = None
    transport: httpx2.AsyncBaseTransport | None = None


class HttpBackend:
    """Claims, beats and settles through the client. `is_claiming` False: it only beats, for the heartbeater's thread."""

    def __init__(self, options: HttpOptions, *, clock: Clock, is_claiming: bool = True) -> None:
        self._options = options
        self._clock = clock
        self._is_claiming = is_claiming
        self._queues = ("*",) if options.queues is None else options.queues
        self._http: AsyncTransport | None = None
        self._claim_id: UUID | None = None
        self._fetched: list[Lease] = []
        self._wanted = 1
        self._heartbeat_s = 0.0
        self._beaten_at = float("-inf")
        self.directive = Directive.RUN

    async def open(self) -> None:
        """Make the worker known. Raises JobQueueError when the service cannot be reached or refuses."""
        options = self._options
        self._http = AsyncTransport(
            options.url, api_key=options.api_key, timeout_s=CALL_S_MAX, plan=RetryPlan(OPEN_S_MAX), transport=options.transport
        )
        if self._is_claiming:
            await self._introduce()

    async def _introduce(self) -> None:
        assert self._http is not None
        options = self._options
        call = work.introduce(
            options.worker_name,
            queues=self._queues,
            job_types=options.job_types,
            concurrency=options.concurrency,
            version=options.version,
        )
        self._heartbeat_s = (await self._http.send(call)).heartbeat_seconds

    async def close(self) -> None:
        """Give back what was fetched and not handed on, say that the worker stopped, let go of the connections."""
        http, is_claiming = self._http, self._is_claiming
        if http is None:
            return
        with contextlib.suppress(JobQueueError, TimeoutError):
            if is_claiming:
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._leave(http)
        self._http = None
        await http.close()

    async def _leave(self, http: AsyncTransport) -> None:
        if self._claim_id is not None:  # an answer is missing: it may have been on its way
            self._fetched += await self._claim(jobs_max=0, wait_s=0)
        if self._fetched:
            unseen, self._fetched = self._fetched, []
            await self.settle([Settlement(one.job_id, one.token, one.standing, Outcome(OutcomeKind.RELEASED)) for one in unseen])
        await http.send_once(work.heartbeat(self._options.worker_name, state="stopped", beats=[]))

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        """Hand on what a wait brought, else ask once."""
        self._wanted = jobs_max
        if not self._fetched:
            return await self._claim(jobs_max=jobs_max, wait_s=0)
        handed_on, self._fetched = self._fetched[:jobs_max], self._fetched[jobs_max:]
        return handed_on

    async def wait(self, *, timeout_s: float) -> None:
        """Poll for as many jobs as the last claim wanted, for timeout_s (at most 30)."""
        self._fetched += await self._claim(jobs_max=self._wanted, wait_s=min(timeout_s, WAIT_S_MAX))

    async def _claim(self, *, jobs_max: int, wait_s: float) -> list[Lease]:
        assert self._http is not None
        self._claim_id = self._claim_id or uuid4()
        options = self._options
        call = work.claim(
            options.worker_name,
            claim_id=self._claim_id,
            queues=self._queues,
            job_types=options.job_types,
            jobs_max=min(jobs_max, work.CLAIM_JOBS_MAX),
            wait_s=wait_s,
            lease_s=options.lease_s,
        )
        sent_at = self._clock.boottime()
        answer = await self._http.send_once(call)
        self._claim_id = None
        held_at = sent_at + answer.get("waited_seconds", 0.0)
        return [_lease(told, held_at) for told in answer["leases"]]

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        """Renew leases; without any, say now and then that the worker itself lives."""
        now_s = self._clock.monotonic()
        if not beats and now_s - self._beaten_at < (self._heartbeat_s or WAIT_S_MAX / 6):
            return []
        assert self._http is not None
        state = "running" if self.directive is Directive.RUN else "quiet"
        call = work.heartbeat(self._options.worker_name, state=state, beats=[_told_beat(beat) for beat in beats])
        try:
            answer = await self._http.send_once(call)
        except NotFound:  # forgotten after a long silence
            await self._introduce()
            answer = await self._http.send_once(call)
        self._beaten_at = now_s
        self.directive = Directive(answer["directive"])
        return [_beat_status(told) for told in answer["leases"]]

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Report how runs ended, in as many requests as their size asks for; sent again, those that were taken are replayed."""
        assert self._http is not None
        settled: list[Settled] = []
        for part in work.cut([_told_outcome(settlement) for settlement in settlements]):
            answer = await self._http.send_once(work.settle(part))
            settled += [Settled(UUID(told["job_id"]), SettleStatus(told["status"]), told["next_status"]) for told in answer["results"]]
        return settled


def _lease(told: dict[str, Any], held_at: float) -> Lease:
    """Take a lease. held_at: a boottime before it was granted, or before what is left of it was read."""
    job = told["job"]
    crashes_max, delay_s_base, delay_s_max = NO_POLICY
    lease_s = told["lease_seconds"]
    return Lease(
        job_id=UUID(job["id"]),
        token=UUID(told["lease_token"]),
        tenant=job["tenant_id"],
        queue=job["queue"],
        job_type=job["job_type"],
        priority=job["priority"],
        standing=Standing(told["attempt"], told["crashes"], RetryPolicy(job["max_attempts"], crashes_max, delay_s_base, delay_s_max)),
        data_json=orjson.dumps(job["payload"]["data"]).decode(),
        lease_s=lease_s,
        timeout_s=told["timeout_seconds"],
        key_id=None,
        tags=job["tags"],
        metadata_json=orjson.dumps(job["metadata"]).decode() if job["metadata"] else None,
        idempotency_key=job["idempotency_key"],
        correlation_id=job["correlation_id"],
        traceparent=told["traceparent"],
        granted_at=held_at + told["lease_expires_in_seconds"] - lease_s,
    )


def _told_beat(beat: Beat) -> dict[str, Any]:
    told: dict[str, Any] = {"job_id": beat.job_id, "lease_token": beat.token}
    if beat.started_ago_s is not None:
        told["started_seconds_ago"] = beat.started_ago_s
    if beat.progress is not None:
        told["progress"] = beat.progress
    if beat.message is not None:
        told["message"] = beat.message
    return told


def _beat_status(told: dict[str, Any]) -> BeatStatus:
    if told["status"] == BeatStatus.OK and told["lease_expires_at"] is None:
        return BeatStatus.BUSY
    return BeatStatus(told["status"])


def _told_outcome(settlement: Settlement) -> bytes:
    outcome = settlement.outcome
    told: dict[str, Any] = {"job_id": settlement.job_id, "lease_token": settlement.token, "outcome": outcome.kind.value}
    if outcome.result_json is not None:
        told["result"] = orjson.Fragment(outcome.result_json)
    if outcome.result_ref is not None:
        told["result_ref"] = outcome.result_ref
    if outcome.failure is not None:
        failure = outcome.failure
        told["error"] = {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
    if not outcome.is_retryable:
        told["retry"] = "never"
    if outcome.is_crash:
        told["crashed"] = True
    if outcome.delay_s is not None:
        told["delay_seconds"] = outcome.delay_s
    if outcome.ran_s is not None:
        told["ran_seconds"] = outcome.ran_s
    return encode(told)


def factory(options: HttpOptions, *, clock: Clock) -> tuple[Callable[[], HttpBackend], Callable[[], HttpBackend]]:
    """Make the two a worker needs: one that claims and settles, one that only beats."""
    return (lambda: HttpBackend(options, clock=clock)), (lambda: HttpBackend(options, clock=clock, is_claiming=False))
