"""Webhooks: what an endpoint is told, under which id, in what form, and what follows a try. Pure.

A delivery is one event for one endpoint. Its id is made of both, so it is the same for ever: on each try, after a replay, and if it had to
be made again; receivers know by it what they have seen (`webhook-id` of Standard Webhooks 1.0).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

import orjson

from jobqueue.domain.feed import FeedEvent
from jobqueue.domain.lifecycle import Event

PREFIX: Final = "job."
EVENT_TYPES: Final = tuple(f"{PREFIX}{event}" for event in Event)
"""Every type an endpoint can be told; progress is live only."""
TEST_TYPE: Final = "webhook.test"
"""Asked for by hand; no job's."""

STEPS_S: Final = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""The standard's schedule: at once, then 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h after the try before."""
ATTEMPTS_MAX: Final = len(STEPS_S)
RETRY_AFTER_S_MAX: Final = STEPS_S[-1]
FAILING_S_MAX: Final = 5 * 86_400.0
"""An endpoint that took nothing for so long is disabled: longer than one delivery is tried."""
PAUSED_AFTER: Final = 10
"""Failures in a row from which on an endpoint is only probed, by one delivery at a time."""
PAUSE_S_MAX: Final = 60.0
"""Between two probes; also how much longer than its outage an endpoint may wait."""

SUCCESS: Final = range(200, 300)
REDIRECT: Final = range(300, 400)
GONE: Final = 410
ERROR_CHARACTERS_MAX: Final = 300
EXCERPT_CHARACTERS_MAX: Final = 500

_HASH_BYTES: Final = 8
_SEQ_BITS: Final = 62


class State(StrEnum):
    """Whether an endpoint is told."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Reason(StrEnum):
    """Why an endpoint is disabled."""

    ASKED = "asked"
    GONE = "gone"
    FAILING = "failing"


class DeliveryStatus(StrEnum):
    """How a delivery stands. skipped: its endpoint was disabled when it came up; a replay sends it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events an endpoint is told. Of several values of one kind one is enough; an empty kind does not matter."""

    event_types: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()

    def wants(self, event: FeedEvent) -> bool:
        """Whether the endpoint is to be told."""
        return (
            (not self.event_types or PREFIX + event.type in self.event_types)
            and (not self.queues or event.queue in self.queues)
            and (not self.job_types or event.job_type in self.job_types)
        )


# --------------------------------------------------------------------------------------------------------------- ids


def delivery_id(webhook_id: UUID, seq: int) -> UUID:
    """Name a delivery: 60 bits of the endpoint's hash and the event's number, as a UUID of version 8."""
    assert 0 < seq < 2**_SEQ_BITS
    content = hashlib.sha256(webhook_id.bytes).digest()[:_HASH_BYTES] + (2**63 | seq).to_bytes(8, "big")
    return UUID(bytes=content[:6] + bytes([0x80 | content[6] & 0x0F]) + content[7:])


def seq_of(webhook_id: UUID, delivery: UUID) -> int | None:
    """Read the event's number out of the id of a delivery; None: it is none of this endpoint's."""
    seq = int.from_bytes(delivery.bytes[8:], "big") % 2**_SEQ_BITS
    return seq if seq and delivery == delivery_id(webhook_id, seq) else None


# -------------------------------------------------------------------------------------------------------------- bodies


def body_of(event: FeedEvent, tenant: str) -> str:
    """Write what an endpoint is told of an event; what is not here is got by the job's id."""
    job = {
        "id": str(event.job_id),
        "tenant_id": tenant,
        "queue": event.queue,
        "job_type": event.job_type,
        "status": event.status,
        "attempt": event.attempt,
        "worker_id": event.worker_id,
    }
    told = {"type": PREFIX + event.type, "timestamp": event.at, "data": {"cursor": str(event.cursor), "job": job}}
    return orjson.dumps(told, option=orjson.OPT_UTC_Z).decode()


# -------------------------------------------------------------------------------------------------------------- after a try


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try: an answer's status, or the error in its place. retry_after_s: what the receiver asked for."""

    status: int | None
    error: str | None = None
    excerpt: str = ""
    retry_after_s: float = 0.0
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a try. status pending: again after delay_s. is_gone: the endpoint wants nothing any more."""

    status: DeliveryStatus
    delay_s: float = 0.0
    error: str | None = None
    is_gone: bool = False


def judge(answer: Answer, *, attempt: int, jitter: float) -> Verdict:
    """Decide what follows a try. attempt counts from 1; jitter in [0, 1) is drawn by the caller."""
    assert attempt >= 1
    if answer.status is not None and answer.status in SUCCESS:
        return Verdict(DeliveryStatus.DELIVERED)
    error = _why(answer)[:ERROR_CHARACTERS_MAX]
    is_gone = answer.status == GONE
    if attempt >= ATTEMPTS_MAX:
        return Verdict(DeliveryStatus.FAILED, error=error, is_gone=is_gone)
    delay_s = max(delay_after(attempt, jitter), min(answer.retry_after_s, RETRY_AFTER_S_MAX))
    return Verdict(DeliveryStatus.PENDING, delay_s, error, is_gone)


def delay_after(attempt: int, jitter: float) -> float:
    """Draw the wait after a failed try: evenly between the step before and its own.

    Those who fail together do not come back together, and all tries still span more than two days: with the whole range from 0 on, an
    unlucky delivery could use them up within an hour's outage.
    """
    assert 0 <= jitter < 1
    assert 1 <= attempt < ATTEMPTS_MAX
    return STEPS_S[attempt - 1] + (STEPS_S[attempt] - STEPS_S[attempt - 1]) * jitter


def _why(answer: Answer) -> str:
    if answer.status is None:
        return answer.error or "no answer"
    if answer.status in REDIRECT:
        return f"the answer is {answer.status}: redirects are not followed; change the endpoint's URL"
    if answer.status == GONE:
        return "the answer is 410: the receiver wants nothing any more"
    return f"the answer is {answer.status}"


def read_retry_after(value: str) -> float:
    """Read Retry-After in seconds; a date, or nonsense, is 0: left to the schedule."""
    return min(float(value), RETRY_AFTER_S_MAX) if value.isascii() and value.isdigit() and len(value) <= 9 else 0.0


def clean_excerpt(data: bytes) -> str:
    """Make the start of an answer's body something that can be stored and shown."""
    text = data.decode("utf-8", "replace")[:EXCERPT_CHARACTERS_MAX]
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
