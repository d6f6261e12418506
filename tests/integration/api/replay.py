"""Two tenants on one API: what one asks, the other asks again with a credential of its own, straight into the application.

Everything the first one has bears a canary: a text that stands nowhere else. A canary leaks when it stands in an answer to the other
tenant although that one has sent it nowhere before. Requests are made from the routes themselves, so a new route takes part by itself.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from fastapi import FastAPI

ANSWER_S_MAX: Final = 30.0
"""How long an answer's beginning is waited for."""
STREAM_S_MAX: Final = 0.5
"""How long an answer that does not end is listened to."""
CANARY: Final = re.compile(r"canary[0-9a-z]{6}")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOT_COMPARED: Final = frozenset({"rate_bucket", "rate_lease", "tally"})
"""Tables whose rows of a tenant move by themselves: with time, and when counts are folded."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    body: Any = None
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.path}?{self.query}\n{dict(self.headers)}\n{self.content.decode()}"

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return json.dumps(self.body).encode()


@dataclass(frozen=True)
class Answer:
    """What came back. text: headers and body."""

    status: int
    text: str
    body: Any

    def told(self) -> str:
        """The body, without the ids of the request itself."""
        return re.sub(r'"request_id":"[0-9a-f]{32}"', "", self.text.partition("\n\n")[2])


class Asker:
    """A tenant with a credential, and all it has sent so far."""

    def __init__(self, app: FastAPI, credential: str) -> None:
        self._app = app
        self._credential = credential
        self.sent = ""

    async def send(self, ask: Ask) -> Answer:
        """Ask; an answer that has begun and does not end is cut after STREAM_S_MAX."""
        self.sent += ask.text
        said: list[dict[str, Any]] = []
        gone, begun = asyncio.Event(), asyncio.Event()
        incoming: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": ask.content, "more_body": False}])

        async def receive() -> dict[str, Any]:
            if (message := next(incoming, None)) is not None:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            said.append(message)
            begun.set()

        task = asyncio.create_task(self._app(self._scope(ask), receive, send))  # type: ignore[arg-type]
        beginning = asyncio.create_task(begun.wait())
        await asyncio.wait([task, beginning], timeout=ANSWER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        beginning.cancel()
        await asyncio.wait([task], timeout=STREAM_S_MAX)
        gone.set()
        await asyncio.wait([task], timeout=STREAM_S_MAX)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        else:
            task.result()
        return _read(said)

    def _scope(self, ask: Ask) -> dict[str, Any]:
        headers = {"host": "api", "authorization": f"Bearer {self._credential}", **ask.headers}
        listed = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        path = {"path": ask.path, "raw_path": ask.path.encode(), "query_string": ask.query.encode(), "root_path": ""}
        return {"type": "http", "method": ask.method, "headers": listed, "http_version": "1.1", "scheme": "http", "client": None, **path}


def _read(said: list[dict[str, Any]]) -> Answer:
    assert said, "no answer at all"
    head = "\n".join(
        f"{name.decode()}: {value.decode('latin-1')}" for name, value in said[0]["headers"] if name not in (b"x-request-id", b"date")
    )
    content = b"".join(message.get("body", b"") for message in said[1:]).decode(errors="replace")
    body = None
    with contextlib.suppress(ValueError):
        body = json.loads(content)
    return Answer(said[0]["status"], f"{head}\n\n{content}", body)


def secrets_in(text: str) -> set[str]:
    """The canaries and ids that stand in a text."""
    return {*CANARY.findall(text), *UUID.findall(text)}


def leaks(answer: Answer, secrets: set[str], asker: Asker) -> set[str]:
    """What an answer tells of somebody else's that the asker had not sent itself."""
    return {secret for secret in secrets if secret in answer.text and secret not in asker.sent}


async def rows_of(connection: asyncpg.Connection, tenant_id: int) -> dict[str, list[str]]:
    """Every row a tenant has, by table: whatever table it is."""
    tables = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        " WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    return {
        name: sorted(row[0] for row in await connection.fetch(f'SELECT t::text FROM jobqueue."{name}" t WHERE tenant_id = $1', tenant_id))
        for name in (table["relname"] for table in tables)
        if name not in NOT_COMPARED
    }
