"""How a stream begins: what its client asked for, and how it catches up with the present without a gap or a repeat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from jobqueue.api.live.hub import Hub
from jobqueue.api.live.messages import Message, of_event, of_snapshot
from jobqueue.api.live.stream import Outlet, Stream
from jobqueue.api.parameters import UUID_TEXT, caller_of
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import DatabaseUnavailable, InvalidFields, WrongTenant
from jobqueue.domain.feed import Choice, FeedEvent, cursor_after
from jobqueue.domain.job import JOB_TYPE, QUEUE_NAME
from jobqueue.operations import feed
from jobqueue.operations.database import Database
from jobqueue.operations.feed import FeedTailer
from jobqueue.protocol.live import CURSOR_PATTERN

VALUES_MAX: Final = 50
CURSOR: Final = re.compile(CURSOR_PATTERN)
BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
MODES: Final = ("all", "latest")
SINGLE: Final = ("after", "snapshot", "mode", "tenant_id")
JOIN_S_MAX: Final = 10.0
ROUNDS_MAX: Final = 100
"""Rounds of catching up; a stream that needs more is told it lags."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a client asked for. after: the last cursor it knows, None: from now on."""

    choice: Choice
    after: int | None = None
    has_snapshot: bool = False
    is_latest: bool = False


def read_request(query: Sequence[tuple[str, str]], principal: Principal, *, last_event_id: str | None = None) -> StreamRequest:
    """Read the query of a stream. last_event_id: how server-sent events say `after` when they come back.

    Raises InvalidFields, and WrongTenant when it names another tenant than the credential's.
    """
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name, []).append(value)
    faults: list[tuple[str, str]] = []
    known = {"queue", "job_type", "job_id", *SINGLE}
    faults += [(f"/query/{name}", "there is no such parameter") for name in values if name not in known]
    faults += [(f"/query/{name}", "may be given once") for name in SINGLE if len(values.get(name, ())) > 1]
    faults += [(f"/query/{name}", f"at most {VALUES_MAX} values") for name in values if len(values[name]) > VALUES_MAX]
    for name, pattern in (("queue", QUEUE_NAME), ("job_type", JOB_TYPE), ("job_id", UUID_TEXT), ("after", CURSOR)):
        faults += [(f"/query/{name}", f"must match {pattern.pattern}") for value in values.get(name, ()) if not pattern.fullmatch(value)]
    after = values.get("after", [None])[0] if last_event_id is None else last_event_id
    if last_event_id is not None and not CURSOR.fullmatch(last_event_id):
        faults.append(("/header/Last-Event-ID", f"must match {CURSOR.pattern}"))
    snapshot = values.get("snapshot", ["false"])[0]
    if snapshot not in BOOLEANS:
        faults.append(("/query/snapshot", "is true or false"))
    elif BOOLEANS[snapshot] and "after" in values:
        faults.append(("/query/snapshot", "snapshot and after exclude each other: a snapshot begins now"))
    mode = values.get("mode", ["all"])[0]
    if mode not in MODES:
        faults.append(("/query/mode", f"is one of {', '.join(MODES)}"))
    if faults:
        raise InvalidFields(faults)
    if values.get("tenant_id", [principal.tenant])[0] != principal.tenant:
        raise WrongTenant("tenant_id must be the credential's own tenant")
    return StreamRequest(
        Choice(
            frozenset(values.get("queue", ())),
            frozenset(values.get("job_type", ())),
            frozenset(UUID(value) for value in values.get("job_id", ())),
        ),
        after=None if after is None else int(after),
        has_snapshot=BOOLEANS[snapshot] and last_event_id is None,
        is_latest=mode == "latest",
    )


class Joiner:
    """Brings streams in."""

    def __init__(self, db: Database, hub: Hub, tailer: FeedTailer, *, tenant_cap: int) -> None:
        self._db = db
        self._hub = hub
        self._tailer = tailer
        self._tenant_cap = tenant_cap

    def open(self, principal: Principal, asked: StreamRequest, outlet: Outlet, *, expires_at_s: float | None) -> Stream:
        """Make a stream that holds back what comes; `join` it, and `close` it in any case. Raises TooManyStreams, Overloaded."""
        self._hub.check_room(principal)
        stream = Stream(principal, asked.choice, outlet, is_latest=asked.is_latest, expires_at_s=expires_at_s, leave=self._hub.remove)
        stream.hold()
        self._hub.add(stream)
        self._tailer.poke()
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream whose client is gone."""
        self._hub.remove(stream)
        stream.end()

    async def join(self, stream: Stream, asked: StreamRequest) -> None:
        """Say that the stream stands, tell what was asked for of the past, and go live.

        Raises ConnectionError when the client went meanwhile or did not read, JobQueueError when the database is away.
        """
        row_last = await self._position(stream)
        now = cursor_after(row_last)
        if asked.after is not None and not await feed.is_forgotten(self._db, asked.after):
            stream.send(Message("ready", asked.after))
            await self._catch_up(stream, asked.after, row_last)
            return
        stream.send(Message("ready", now))
        if asked.after is not None:
            stream.send(Message("reset", now))
        if asked.has_snapshot:
            await self._tell_snapshot(stream, row_last)
        elif not stream.release(told=now):
            await self._catch_up(stream, now, row_last)

    async def _tell_snapshot(self, stream: Stream, row_last: int) -> None:
        now = cursor_after(row_last)
        shown = await feed.snapshot(self._db, caller_of(stream.principal), stream.choice, row_after=row_last, tenant_cap=self._tenant_cap)
        for view in shown.jobs:
            stream.send(of_snapshot(view, now))
        stream.send(Message("snapshot_end", now, jobs=len(shown.jobs), is_complete=shown.is_complete))
        await stream.drained()
        if not stream.release(told=now, rows=shown.rows):
            stream.lag()  # thousands of events within one read: the client comes back with its cursor

    async def _catch_up(self, stream: Stream, cursor: int, row_last: int) -> None:
        tell = _teller(stream)
        for _ in range(ROUNDS_MAX):
            pages = feed.read_after(self._db, stream.principal.tenant_id, stream.choice, cursor=cursor, row_last=row_last)
            async for events in pages:
                for event in events:
                    tell(event)
                await stream.drained()
            cursor = max(cursor, cursor_after(row_last))
            if stream.release(told=cursor):
                return
            stream.hold()
            row_last = await self._position(stream)
        stream.lag()

    async def _position(self, stream: Stream) -> int:
        """Wait for the tailer to read for the stream's tenant. Raises ConnectionError for a stream let go, DatabaseUnavailable."""
        await stream.drained()
        try:
            async with asyncio.timeout(JOIN_S_MAX):
                return await self._tailer.position_of(stream.principal.tenant_id)
        except TimeoutError as error:
            raise DatabaseUnavailable("the live feed does not move") from error


def _teller(stream: Stream) -> Callable[[FeedEvent], None]:
    tenant = stream.principal.tenant

    def tell(event: FeedEvent) -> None:
        stream.send(of_event(event, tenant))

    return tell
