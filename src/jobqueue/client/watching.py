"""Follow the live feed: a WebSocket that comes back with its cursor whenever it breaks off, so that nothing is missing or told twice."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import Field, TypeAdapter
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from jobqueue.aio.clock import Clock
from jobqueue.client.calls import Several
from jobqueue.client.problems import Unreachable, read_problem
from jobqueue.client.retries import wait_before_again
from jobqueue.domain.errors import JobQueueError
from jobqueue.protocol.live import JobChanged, Lagged, Ready, Reset, SnapshotEnd, SnapshotJob

CONNECT_S_MAX: Final = 10.0
PAUSE_S_FIRST, PAUSE_S_MAX = 0.1, 5.0
PING_S: Final = 10.0
"""Between two pings of ours, and how long their answer may take: a frozen link is noticed within twice that."""

Told = JobChanged | SnapshotJob | SnapshotEnd | Reset
"""What a watch gives: changes, with `snapshot` first the jobs as they are, and that older changes are no longer kept."""
MESSAGE: Final[TypeAdapter[Any]] = TypeAdapter(
    Annotated[Ready | JobChanged | SnapshotJob | SnapshotEnd | Reset | Lagged, Field(discriminator="type")]
)
OPTIONS: Final[dict[str, Any]] = {
    "compression": None,
    "open_timeout": CONNECT_S_MAX,
    "ping_interval": PING_S,
    "ping_timeout": PING_S,
    "close_timeout": 1.0,
}


class Watch:
    """What is watched, how far it has been told, and when to try again."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        queue: Several,
        job_type: Several,
        job_id: Several,
        after: str | None,
        snapshot: bool,
        latest: bool,
        retry_for_s: float,
    ) -> None:
        self._url = url
        self.headers = {"Authorization": f"Bearer {api_key}"}
        several = {"queue": queue, "job_type": job_type, "job_id": job_id}
        self._query: dict[str, Any] = {name: [value] if isinstance(value, str) else list(value) for name, value in several.items()}
        if latest:
            self._query["mode"] = "latest"
        self._cursor = after
        self._wants_snapshot = snapshot
        self._retry_for_s = retry_for_s
        self._failing_since_s: float | None = None
        self._pause_s = PAUSE_S_FIRST

    def address(self) -> str:
        """Where to connect now: behind what has been told."""
        query = dict(self._query)
        if self._cursor is not None:
            query["after"] = self._cursor
        elif self._wants_snapshot:
            query["snapshot"] = "true"
        scheme, _, rest = self._url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws/jobs?{urlencode(query, doseq=True)}"

    def take(self, said: str | bytes) -> Told | None:
        """Read a message and remember its cursor; None: it is not for the caller."""
        message = MESSAGE.validate_json(said)
        self._failing_since_s, self._pause_s = None, PAUSE_S_FIRST
        # a snapshot that breaks off is begun again: its cursor is known only when it has ended
        if not (self._wants_snapshot and isinstance(message, Ready | SnapshotJob)):
            self._wants_snapshot = False
            self._cursor = message.cursor
        return None if isinstance(message, Ready | Lagged) else message

    def pause_s(self, error: JobQueueError) -> float:
        """Say after how many seconds to come back. Raises the error when that is of no use, or has been tried for too long."""
        again = wait_before_again(error)
        now_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        if again is False or now_s - self._failing_since_s >= self._retry_for_s:
            raise error
        pause_s = self._pause_s if again is True else float(again)
        self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)
        return pause_s * random.uniform(0.5, 1.0)  # all clients of a server that restarted would come back at once


@contextmanager
def _as_ours() -> Iterator[None]:
    """Turn what a connection can fail with into errors of ours."""
    try:
        yield
    except InvalidStatus as refusal:
        answer = refusal.response
        raise read_problem(
            answer.status_code, {name.lower(): value for name, value in answer.headers.raw_items()}, bytes(answer.body or b"")
        ) from refusal
    except (ConnectionClosed, InvalidHandshake, WebSocketException, OSError, TimeoutError) as error:
        raise Unreachable(f"the live stream broke off: {error}") from error


async def follow_async(watch: Watch, clock: Clock) -> AsyncIterator[Told]:
    """Follow until the caller stops. Raises what refuses the stream for good, Unreachable when it stays away for too long."""
    while True:
        try:
            async for told in _listen_async(watch):
                yield told
        except JobQueueError as error:
            await clock.sleep(watch.pause_s(error))


async def _listen_async(watch: Watch) -> AsyncIterator[Told]:
    with _as_ours():
        async with connect_async(watch.address(), additional_headers=watch.headers, **OPTIONS) as socket:
            while True:
                told = watch.take(await socket.recv())
                if told is not None:
                    yield told


def follow(watch: Watch) -> Iterator[Told]:
    """The same, blocking."""
    while True:
        try:
            yield from _listen(watch)
        except JobQueueError as error:
            time.sleep(watch.pause_s(error))


def _listen(watch: Watch) -> Iterator[Told]:
    with _as_ours(), connect(watch.address(), additional_headers=watch.headers, **OPTIONS) as socket:
        while True:
            told = watch.take(socket.recv())
            if told is not None:
                yield told
