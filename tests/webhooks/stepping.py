"""Webhooks on the engine, step by step and with the clock in the test's hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.addresses import parse_networks
from jobqueue.domain.webhook_signature import SECRET_BYTES, write_secret
from jobqueue.operations import webhook_delivery as operations
from jobqueue.operations.jobs import Caller
from jobqueue.operations.webhook_delivery import FanOut, Tried
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.reaper.webhook_sender import CLAIM_S, ENDPOINT_MAX, WebhookSender
from jobqueue.store import webhooks as store
from tests.engine import Engine

API_SECRET: Final = "a secret of at least thirty-two bytes"
SECRET: Final = b"\x07" * SECRET_BYTES
WRITTEN: Final = write_secret(SECRET)
HERE: Final = Guard(allowed=parse_networks(["127.0.0.1"]))
STEPS_MAX: Final = 10_000


class Leading:
    """A leader that leads."""

    is_leader = True


@dataclass
class Webhooks:
    """The parts of the reaper that concern webhooks, on one engine."""

    engine: Engine
    guard: Guard = HERE
    box: SecretBox = field(default_factory=lambda: SecretBox([API_SECRET]))
    told: list[Any] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    jitter: float = 0.5

    def __post_init__(self) -> None:
        self.fan_out = FanOut(self.engine.db, clock=self.engine.clock)
        self.sender = self.make_sender()

    def make_sender(self) -> WebhookSender:
        return WebhookSender(
            self.engine.db, Leading(), self.box, self.guard, now_s=time, clock=self.engine.clock,  # type: ignore[arg-type]
            on_fault=lambda name, fault: self.faults.append(fault), emit=self.told.append,
        )  # fmt: skip

    async def make(self, caller: Caller, url: str, **fields: Any) -> UUID:
        """Make an endpoint that signs with SECRET."""
        usual: dict[str, Any] = {"description": None, "event_types": [], "queues": [], "job_types": []}
        row = await store.create(
            self.engine.db, caller.tenant_id, url=url, secret_sealed=self.box.seal(SECRET), webhooks_max=100, **{**usual, **fields}
        )
        assert row is not None
        await self.settle()
        return UUID(str(row["webhook_id"]))

    async def settle(self, *, now: datetime | None = None) -> int:
        """Make deliveries of everything that has happened; answers how many."""
        made = 0
        newest = await self.engine.raw.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM jobqueue.event_seq")
        for _ in range(STEPS_MAX):
            step = await self.fan_out.step(now=now)
            made += step.deliveries
            cursor = await self.engine.raw.fetchval("SELECT seq FROM jobqueue.webhook_cursor")
            if not step.is_behind and not step.is_waiting and cursor is not None and cursor >= newest:
                return made
        raise AssertionError("the fan-out does not get to the end")

    async def send(self, *, now: datetime | None = None) -> list[int | None]:
        """Try what is due, once each; answers the statuses."""
        claimed = await operations.claim(
            self.engine.db, self.box, Counter(), endpoint_max=ENDPOINT_MAX, limit=1_000, claim_s=CLAIM_S, now=now
        )
        tried = [Tried(one, await self.sender.send(one), self.jitter) for one in claimed]
        self.told += await operations.record(self.engine.db, tried, now=now) if tried else []
        return [one.answer.status for one in tried]

    async def send_all(self, *, now: datetime | None = None) -> int:
        """Try until nothing is due; answers how many tries that took."""
        tries = 0
        while statuses := await self.send(now=now):
            tries += len(statuses)
            assert tries < STEPS_MAX
        return tries

    async def rows(self) -> list[Any]:
        """Every delivery, in order."""
        return list(await self.engine.raw.fetch("SELECT * FROM jobqueue.webhook_delivery ORDER BY webhook_id, seq"))

    async def endpoint(self, webhook_id: UUID) -> Any:
        """An endpoint's row."""
        return await self.engine.raw.fetchrow("SELECT * FROM jobqueue.webhook WHERE webhook_id = $1", webhook_id)
