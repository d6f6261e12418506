"""Clients with a fixed timetable: what is due is sent, whether or not the last answer has come; a key is tried again until it is answered.

Times are measured from when a submit was due, so a service that stalls cannot hide it. A key may be sent twice at once, or with another
body (that one must be refused); some jobs are cancelled at a random moment, some are for later.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from tests.faults.record import Recorder, now_ns

IN_FLIGHT_MAX: Final = 2_000
TRIES_S_MAX: Final = 180.0
RETRY_S: Final = 0.1
RETRY_S_MAX: Final = 3.0


@dataclass(frozen=True)
class Shape:
    """What is sent. Parts are chances in [0, 1]; seconds: the longest short job; long_s: how long the long ones are."""

    per_s: float = 40.0
    seconds: float = 0.3
    long: float = 0.01
    long_s: float = 15.0
    threaded: float = 0.2
    fails: float = 0.05
    later: float = 0.05
    cancel: float = 0.02
    blocking: float = 0.0
    hogging: float = 0.0
    poison: tuple[str, ...] = ()
    """Ways, in turn; one poison job comes after each `poison_every` others."""
    poison_every: int = 500
    twin: float = 0.05
    conflict: float = 0.03
    max_attempts: int = 20
    call_s_max: float = 4.0


class Load:
    """The clients of all tenants."""

    def __init__(
        self,
        urls: list[str],
        keys: dict[int, str],
        shape: Shape,
        recorder: Recorder,
        chance: random.Random,
        answered: Callable[[str, float], None],
    ) -> None:
        """keys: API key by tenant; the first tenant gets most of the jobs. answered is told who answered what was asked when."""
        self._answered = answered
        self._urls = urls
        self._keys = keys
        self._shape = shape
        self._recorder = recorder
        self._chance = chance
        self._count = 0
        self.open = 0
        self.unanswered = 0

    async def run(self, group: asyncio.TaskGroup, until: asyncio.Event) -> None:
        """Send by the timetable until told to stop; what is under way goes on in the group."""
        limits = httpx2.Limits(max_connections=IN_FLIGHT_MAX, max_keepalive_connections=50)
        self._client = httpx2.AsyncClient(timeout=self._shape.call_s_max, limits=limits)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not until.is_set():
            due += 1 / self._shape.per_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.open < IN_FLIGHT_MAX:
                self.send(group)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    def send(self, group: asyncio.TaskGroup) -> None:
        """Send what is due now, with its twins."""
        self._count += 1
        chance, shape = self._chance, self._shape
        tenant = self._tenant()
        key, due_ns = f"key-{self._count}", now_ns()
        body = self._body()
        group.create_task(self._submit(group, tenant, key, "a", body, due_ns))
        if chance.random() < shape.twin:
            group.create_task(self._submit(group, tenant, key, "a", body, due_ns))
        if chance.random() < shape.conflict:
            group.create_task(self._submit(group, tenant, key, "b", body, due_ns))

    def _tenant(self) -> int:
        tenants = list(self._keys)
        weights = [1 / (place + 1) for place in range(len(tenants))]
        return self._chance.choices(tenants, weights)[0]

    def _body(self) -> dict[str, Any]:
        chance, shape = self._chance, self._shape
        data: dict[str, Any] = {"seconds": round(chance.uniform(0, shape.seconds), 3)}
        kind = "quick"
        if shape.poison and self._count % shape.poison_every == 0:
            way = shape.poison[self._count // shape.poison_every % len(shape.poison)]
            return {"payload": {"job_type": "poison", "data": {"way": way}}, "max_attempts": shape.max_attempts}
        if chance.random() < shape.blocking:
            kind, data["seconds"] = "blocking", shape.long_s
        elif chance.random() < shape.hogging:
            kind, data["seconds"] = "hogging", shape.long_s
        elif chance.random() < shape.long:
            kind, data["seconds"] = "long", shape.long_s
        elif chance.random() < shape.threaded:
            kind = "threaded"
        elif chance.random() < shape.fails:
            data |= {"fails": chance.choice([1, 1, 2]), "how": chance.choice(["error", "error", "snooze", "discard"])}
        body: dict[str, Any] = {"payload": {"job_type": kind, "data": data}, "max_attempts": shape.max_attempts}
        if chance.random() < shape.later:
            body["delay_seconds"] = chance.randint(1, 3)
        return body

    async def _submit(self, group: asyncio.TaskGroup, tenant: int, key: str, variant: str, body: dict[str, Any], due_ns: int) -> None:
        payload = body["payload"]
        content = {**body, "payload": {**payload, "data": {**payload["data"], "body": variant}}}
        self.open += 1
        try:
            async with asyncio.timeout(TRIES_S_MAX):
                wait_s = RETRY_S
                while (job := await self._try(tenant, key, variant, content, due_ns)) is None:
                    await asyncio.sleep(wait_s * self._chance.uniform(0.5, 1))
                    wait_s = min(2 * wait_s, RETRY_S_MAX)
        except TimeoutError:
            self.unanswered += 1
            return
        finally:
            self.open -= 1
        if job and self._chance.random() < self._shape.cancel:
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            await self._cancel(tenant, job)

    async def _try(self, tenant: int, key: str, variant: str, content: dict[str, Any], due_ns: int) -> str | None:
        """Send once; the job's id, "" for a refusal that stands, None for what is to be tried again."""
        said = {"tenant": tenant, "key": key, "body": variant, "due": due_ns}
        number = self._recorder.invoke("submit", **said)
        url, asked_at = self._chance.choice(self._urls), time.monotonic()
        try:
            answer = await self._client.post(f"{url}/v1/jobs", json=content, headers=self._headers(tenant, key))
        except httpx2.HTTPError as error:
            kind = "fail" if isinstance(error, httpx2.ConnectError) else "info"
            self._recorder.end(number, kind, "submit", err=type(error).__name__)
            return None
        self._answered(url, asked_at)
        code = answer.status_code
        if code in (200, 201):
            self._recorder.end(number, "ok", "submit", code=code, job=answer.json()["id"])
            return str(answer.json()["id"])
        self._recorder.end(number, "fail" if code in (409, 422, 429) else "info", "submit", code=code, err=answer.text[:200])
        return "" if code in (404, 422) else None  # 404: a control has lost the job and kept its key

    async def _cancel(self, tenant: int, job: str) -> None:
        number = self._recorder.invoke("cancel", tenant=tenant, job=job)
        try:
            answer = await self._client.delete(f"{self._chance.choice(self._urls)}/v1/jobs/{job}", headers=self._headers(tenant))
        except httpx2.HTTPError as error:
            self._recorder.end(number, "info", "cancel", err=type(error).__name__)
            return
        code = answer.status_code
        self._recorder.end(number, "ok" if code in (200, 202) else "fail" if code == 409 else "info", "cancel", code=code)

    def _headers(self, tenant: int, key: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._keys[tenant]}"}
        return headers if key is None else {**headers, "Idempotency-Key": key}
