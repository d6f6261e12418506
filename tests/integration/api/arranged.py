"""Jobs in every state, for tests of what is done with many of them."""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.job import PRIORITIES, created_at
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from tests.engine import FAILURE, Engine, request

QUEUES: Final = ("alpha", "beta", "gamma")
TYPES: Final = ("resize", "mail", "report")
TAGS: Final = ("red", "green", "blue")
CORRELATIONS: Final = ("c-1", "c-2", None)


@dataclass
class Known:
    """What a test knows of a job it made."""

    job_id: UUID
    queue: str
    job_type: str
    priority: str
    tags: frozenset[str]
    correlation_id: str | None
    status: str = "queued"
    expires: bool = False

    @property
    def created_at(self) -> datetime:
        """When it was submitted."""
        return created_at(self.job_id)


async def make_jobs(engine: Engine, caller: Caller, count: int, *, chance: random.Random) -> list[Known]:
    """Make jobs with every mix of fields and in every status there is; answers them newest first.

    One of them is sure to be in the dead letter queue, whatever the claims below pick: red mail in queue alpha.
    """
    buried = await _bury(engine, caller)
    asked = [_ask(chance) for _ in range(count)]
    stored = await engine.submit_all(caller, asked)
    known = {
        submitted.job_id: Known(
            submitted.job_id,
            one.queue,
            one.job_type,
            PRIORITIES[one.priority],
            frozenset([] if one.tags_json is None else one.tags_json[2:-2].split('","')),
            one.correlation_id,
            "scheduled" if one.delay_s else "queued",
            one.expires_in_s is not None,
        )
        for submitted, one in zip(stored, asked, strict=True)
    }
    for number, lease in enumerate(await engine.claim(jobs_max=count // 2, types=TYPES)):
        known[lease.job_id].expires = False  # only what was never started expires
        known[lease.job_id].status = await _go_on(engine, lease, ENDS[number] if number < len(ENDS) else chance.choice(ENDS))
    for job in known.values():
        if job.status == "queued" and chance.random() < 0.2:
            await _cancel(engine, caller, job)
        elif job.expires and job.status in ("queued", "scheduled"):
            job.status = "expired"  # by the call below
        elif job.status in ("succeeded", "dlq") and chance.random() < 0.2:
            await _retry(engine, caller, job)
    await upkeep.expire(engine.db, now=await engine.later(86_400))
    return sorted([*known.values(), buried], key=lambda job: job.job_id, reverse=True)


async def _bury(engine: Engine, caller: Caller) -> Known:
    await engine.submit(caller, "mail", queue="alpha", tags_json='["red"]')
    lease = await engine.claim_one(types=TYPES)
    await engine.settle(lease, FAILURE, is_retryable=False)
    return Known(lease.job_id, "alpha", "mail", "normal", frozenset({"red"}), None, "dlq")


ENDS: Final = ("leased", "running", "failed", "succeeded", "succeeded", "succeeded", "dlq", "dlq", "snoozed")


def _ask(chance: random.Random) -> Any:
    tags = [tag for tag in TAGS if chance.random() < 0.4]
    return request(
        chance.choice(TYPES),
        queue=chance.choice(QUEUES),
        priority=chance.randrange(4),
        tags_json='["' + '","'.join(tags) + '"]' if tags else None,
        correlation_id=chance.choice(CORRELATIONS),
        expires_in_s=3600.0 if chance.random() < 0.2 else None,
        delay_s=3600.0 if chance.random() < 0.15 else None,
        concurrency_key=chance.choice((None, None, "k1", "k2")),
    )


async def _go_on(engine: Engine, lease: Any, end: str) -> str:
    match end:
        case "running":
            await engine.start(lease)
        case "failed":
            await engine.settle(lease, FAILURE, delay_s=3600.0)
        case "succeeded":
            await engine.settle(lease)
        case "dlq":
            await engine.settle(lease, FAILURE, is_retryable=False)
        case "snoozed":
            await engine.settle(lease, OutcomeKind.SNOOZED, delay_s=3600.0)
            return "scheduled"
    return end


async def _cancel(engine: Engine, caller: Caller, job: Known) -> None:
    await jobs.cancel(engine.db, caller, job.job_id, grace_s=30)
    job.status = "cancelled"


async def _retry(engine: Engine, caller: Caller, job: Known) -> None:
    await jobs.retry(engine.db, caller, job.job_id, is_reset=True)
    job.status = "queued"
