"""Claim and settle, for workers in any language (CONTRACT 3.4)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from jobqueue.api.authorize import Worker
from jobqueue.api.bodies import json_response, read_object
from jobqueue.api.connected import while_connected
from jobqueue.api.context import context_of
from jobqueue.api.openapi import documented
from jobqueue.api.outcomes import outcome_of, read_outcome, read_outcomes
from jobqueue.api.parameters import JobId, caller_of, read_id
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import beat_object, cut_message, grant_object, settled_object
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import LeaseLost, NotFound
from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, SettleStatus, waits_by_queue
from jobqueue.domain.lifecycle import FINAL, Status
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.operations import work, workers
from jobqueue.operations.leases import Holder
from jobqueue.operations.work import Grant, Told
from jobqueue.protocol import wire
from jobqueue.protocol import work as shapes
from jobqueue.telemetry.events import JobsCompleted, JobsRetried, LeasesAcquired, StaleWritesRefused, Telemetry

ADMITTED_MAX: Final = 3
"""Polls that begin at once use so many connections; a thousand that begin together must not keep submits from theirs."""


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = LeaseRoutes(services)
    router = APIRouter(tags=["work"])

    def add(path: str, handler: Any, operation_id: str, **more: Any) -> None:
        router.add_api_route(path, handler, methods=["POST"], operation_id=operation_id, **more)

    claimed = documented({200: ("The leases; none after the wait.", shapes.Leases)}, body=shapes.LeaseRequest)
    add("/v1/leases", routes.claim, "claim_jobs", **claimed)
    settled = documented({200: ("What became of each.", shapes.SettleAnswers)}, body=shapes.SettleRequest)
    add("/v1/leases/settle", routes.settle, "settle_leases", **settled)
    told = documented({200: ("What became of the lease.", shapes.BeatAnswer)}, NotFound, LeaseLost, body=shapes.JobProgress)
    add("/v1/jobs/{job_id}/progress", routes.progress, "tell_progress_of_job", **told)
    ended = documented({200: ("What became of it.", shapes.SettleAnswer)}, NotFound, LeaseLost, body=shapes.JobOutcome)
    add("/v1/jobs/{job_id}/complete", routes.complete, "complete_job", **ended)
    add("/v1/jobs/{job_id}/fail", routes.fail, "fail_job", **ended)
    add("/v1/jobs/{job_id}/release", routes.release, "release_job", **ended)
    return router


class LeaseRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._terms = services.terms
        self._polls = services.polls
        self._wake = services.wake
        self._clock = services.clock
        self._telemetry = services.telemetry
        self._admission = asyncio.Semaphore(ADMITTED_MAX)

    async def claim(self, request: Request, caller: Worker) -> Response:
        """Lease due jobs of the worker's types, at once or within `wait_seconds`.

        The same `claim_id` again gives those it still holds, so that an answer which got lost loses no job; when none is left, it claims
        anew. A client that closes its connection while it waits is given nothing.
        """
        asked = wire.read(shapes.LeaseRequest, await read_object(request))
        begun_s = self._clock.boottime()
        tenant = caller_of(caller)
        offer = workers.WorkerOffer(asked.queues, asked.job_types, max(1, asked.max_jobs))
        grants: list[Grant] = []
        waited_s = 0.0
        async with self._admission:
            worker_id, directive = await workers.appear(self._db, tenant, asked.worker_id, offer)
            if asked.claim_id is not None:
                grants = await self._held(caller, worker_id, asked.claim_id, asked.max_jobs)
        if not grants and asked.max_jobs and directive is not Directive.RUN:
            await while_connected(request, self._clock.sleep(asked.wait_seconds), unwanted=lambda _: None)
            context_of(request.scope).waited_s = asked.wait_seconds
        elif not grants and asked.max_jobs:
            claimed = await self._poll(request, caller, asked, worker_id)
            context_of(request.scope).waited_s = min(asked.wait_seconds, self._clock.boottime() - begun_s)
            waited_s = max(0.0, *(lease.granted_at - begun_s for lease in claimed if lease.granted_at is not None), 0.0)
            grants = await self._show(request, caller, claimed)
            if grants:
                self._telemetry.emit(LeasesAcquired(asked.worker_id, len(grants), waits_by_queue(claimed)))
        return json_response({"leases": [grant_object(grant) for grant in grants], "waited_seconds": waited_s})

    async def _held(self, caller: Principal, worker_id: int, claim_id: UUID, jobs_max: int) -> list[Grant]:
        """Read what an earlier request with this claim's name holds; what is more than asked for now goes back."""
        grants = await work.held(self._db, caller_of(caller), self._terms, worker_id=worker_id, claim_id=claim_id)
        wanted = jobs_max or len(grants)
        if len(grants) > wanted:
            released = [Told(grant.job.job_id, grant.token, Outcome(OutcomeKind.RELEASED)) for grant in grants[wanted:]]
            await work.settle(self._db, caller_of(caller), self._terms, released, wake=self._wake)
            self._polls.room_made(caller.tenant_id)
        return grants[:wanted]

    async def _poll(self, request: Request, caller: Principal, asked: shapes.LeaseRequest, worker_id: int) -> list[Lease]:
        queues = None if shapes.EVERY_QUEUE in asked.queues else frozenset(asked.queues)
        holder = Holder(worker_id, asked.claim_id or uuid4(), work.clamp_lease_s(asked.lease_seconds, self._terms))
        wish = (caller.tenant_id, queues, frozenset(asked.job_types))
        poll = self._polls.poll(wish, holder, jobs_max=asked.max_jobs, wait_s=asked.wait_seconds)
        return await while_connected(request, poll, unwanted=lambda claimed: self._polls.give_back(claimed))

    async def _show(self, request: Request, caller: Principal, claimed: list[Lease]) -> list[Grant]:
        """Read what was claimed, and give it back if that cannot be, or if the client has left meanwhile."""
        if not claimed:
            return []
        try:
            grants = await work.show(self._db, caller_of(caller), self._terms, claimed)
            if await request.is_disconnected():
                raise ClientDisconnect
        except BaseException:
            self._polls.give_back(claimed)
            raise
        return grants

    async def settle(self, request: Request, caller: Worker) -> Response:
        """Report how runs ended, in one transaction; each is answered for itself, in order.

        Sent again as it is, it is `replayed`. A result that is too large or cannot be stored settles its own job as failed.
        """
        body, rejections = await read_outcomes(request)
        asked = wire.read(shapes.SettleRequest, body)
        told = [
            Told(one.job_id, one.lease_token, outcome_of(OutcomeKind(one.outcome), one, rejections.get(place)))
            for place, one in enumerate(asked.outcomes)
        ]
        settled = await self._settle(caller, told)
        return json_response({"results": [settled_object(one) for one in settled]})

    async def _settle(self, caller: Principal, told: Sequence[Told]) -> list[Settled]:
        settled = await work.settle(self._db, caller_of(caller), self._terms, told, wake=self._wake)
        self._polls.room_made(caller.tenant_id)
        tell_settled(self._telemetry, caller.tenant, told, settled)
        return settled

    async def progress(self, request: Request, caller: Worker, job_id: JobId) -> Response:
        """Say how far a job is. This starts it if it has not, renews its lease, and answers whether it is to be cancelled."""
        number = read_id(job_id)
        asked = wire.read(shapes.JobProgress, await read_object(request))
        beat = Beat(number, asked.lease_token, 0.0, asked.progress, cut_message(asked.message))
        ((status, expires_at),) = await work.renew(self._db, self._clock, caller_of(caller), [beat])
        if status is BeatStatus.LOST:
            await self._refuse(caller, number)
        return json_response(beat_object(number, status, expires_at))

    async def complete(self, request: Request, caller: Worker, job_id: JobId) -> Response:
        """Report that a job succeeded."""
        return await self._end(request, caller, job_id, OutcomeKind.SUCCEEDED)

    async def fail(self, request: Request, caller: Worker, job_id: JobId) -> Response:
        """Report that a job failed; it is tried again after its backoff, unless `retry` says never or no attempt is left."""
        return await self._end(request, caller, job_id, OutcomeKind.FAILED)

    async def release(self, request: Request, caller: Worker, job_id: JobId) -> Response:
        """Give a job back, its attempt refunded."""
        return await self._end(request, caller, job_id, OutcomeKind.RELEASED)

    async def _end(self, request: Request, caller: Worker, job_id: str, kind: OutcomeKind) -> Response:
        number = read_id(job_id)
        body, rejections = await read_outcome(request)
        asked = wire.read(shapes.JobOutcome, body)
        (settled,) = await self._settle(caller, [Told(number, asked.lease_token, outcome_of(kind, asked, rejections.get(0)))])
        if settled.status is SettleStatus.LEASE_LOST:
            await self._refuse(caller, number)
        return json_response(settled_object(settled))

    async def _refuse(self, caller: Principal, job_id: UUID) -> None:
        """Raise NotFound for a job that is not the tenant's, LeaseLost for one that is."""
        await work.check_exists(self._db, caller_of(caller), job_id)
        raise LeaseLost("the lease is not yours any more: it ran out, or the job was given to somebody else")


def tell_settled(telemetry: Telemetry, tenant: str, told: Sequence[Told], settled: Sequence[Settled]) -> None:
    """Tell what ended, what will be tried again, and what was refused. What was told before was counted before."""
    durations_s: defaultdict[str, list[float | None]] = defaultdict(list)
    for one, answer in zip(told, settled, strict=True):
        if answer.status is SettleStatus.SETTLED and answer.next_status is not None:
            durations_s[answer.next_status].append(one.outcome.ran_s)
    for status, ran_s in durations_s.items():
        if status in FINAL:
            telemetry.emit(JobsCompleted(tenant, status, len(ran_s), [seconds for seconds in ran_s if seconds is not None]))
        elif status == Status.FAILED:
            telemetry.emit(JobsRetried(tenant, len(ran_s)))
    refused = sum(answer.status is SettleStatus.LEASE_LOST for answer in settled)
    if refused:
        telemetry.emit(StaleWritesRefused(refused))
