"""One stream: what its client has been told, and what is held back while it catches up.

Invariant: the client is told each event it chose once, in the order of cursors. `told` is the cursor up to which that is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from uuid import UUID

from jobqueue.api.live.messages import Message
from jobqueue.domain.access import Principal
from jobqueue.domain.feed import PROGRESS, Choice, FeedEvent
from jobqueue.domain.history import row_of

HELD_MAX: Final = 5_000
"""Events that may come while a stream catches up; more, and it goes round once more instead."""
LATEST_JOBS_MAX: Final = 10_000
LATEST_GAP_S: Final = 0.1
"""How often a stream of newest states is told, at the most."""
CLOSE_EXPIRED, CLOSE_LAGGED, CLOSE_RESTART = 4001, 4008, 1012


class Outlet(Protocol):
    """The way to one client."""

    def write(self, message: Message) -> bool:
        """Send a message, without waiting; False: the client does not read what was sent before."""

    async def drained(self) -> None:
        """Wait until the client has read most of it. Raises TimeoutError when it does not, ConnectionError when it is gone."""

    def close(self, code: int, reason: str, /) -> None:
        """Let the client go once it has read what was sent, or soon in any case."""


class Stream:
    """A client, what it chose and how far it has been told. Used from one event loop."""

    def __init__(
        self,
        principal: Principal,
        choice: Choice,
        outlet: Outlet,
        *,
        is_latest: bool,
        expires_at_s: float | None,
        leave: Callable[[Stream], None],
    ) -> None:
        """expires_at_s: when its credential ends, Unix time. leave is called once, when the stream ends from our side."""
        self.principal = principal
        self.choice = choice
        self.expires_at_s = expires_at_s
        self.told = -1
        self._outlet = outlet
        self._leave = leave
        self._is_closed = False
        self._held: list[tuple[FeedEvent, Message]] | None = None
        self._is_overfull = False
        self._rows: dict[UUID, int] = {}
        self._latest: dict[UUID, Message] | None = {} if is_latest else None
        self._latest_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------------- live

    def offer(self, event: FeedEvent, message: Message) -> None:
        """Tell an event, unless it has been told."""
        if self._held is not None:
            if len(self._held) < HELD_MAX:
                self._held.append((event, message))
            else:
                self._is_overfull = True
            return
        if event.type != PROGRESS:
            if event.cursor <= self.told or row_of(event.cursor) <= self._rows.get(event.job_id, -1):
                return
            self._rows.pop(event.job_id, None)
            self.told = event.cursor
        if self._latest is None:
            self.send(message)
        else:
            self._keep_latest(event.job_id, message)

    def send(self, message: Message) -> None:
        """Send a message; a client that does not read is let go."""
        if not self._is_closed and not self._outlet.write(message):
            self.lag()

    def _keep_latest(self, job_id: UUID, message: Message) -> None:
        assert self._latest is not None
        self._latest.pop(job_id, None)  # the newest state goes last
        self._latest[job_id] = message
        if len(self._latest) > LATEST_JOBS_MAX:
            self.lag()
        elif self._latest_timer is None:
            self._latest_timer = asyncio.get_running_loop().call_later(LATEST_GAP_S, self._send_latest)

    def _send_latest(self) -> None:
        assert self._latest is not None
        self._latest_timer = None
        latest, self._latest = self._latest, {}
        for message in latest.values():
            self.send(message)

    # ------------------------------------------------------------------------------------------- catching up

    def hold(self) -> None:
        """Keep what comes until `release`."""
        self._held, self._is_overfull = [], False

    def release(self, *, told: int, rows: Mapping[UUID, int] | None = None) -> bool:
        """Go live: everything up to `told` has been sent. rows: jobs that changed before a snapshot was taken, with the row it shows.

        False: more came than was kept; catch up once more from `told`.
        """
        assert self._held is not None
        self.told = max(self.told, told)
        if self._is_overfull:
            return False
        held, self._held = self._held, None
        self._rows = dict(rows or {})
        for event, message in held:
            self.offer(event, message)
        return True

    async def drained(self) -> None:
        """Wait until the client has read most of what was sent. Raises ConnectionError when it is gone or was let go."""
        try:
            await self._outlet.drained()
        except TimeoutError:
            self.lag()
        if self._is_closed:
            raise ConnectionError

    # ------------------------------------------------------------------------------------------------ ending

    def lag(self) -> None:
        """Let a client go that does not read, told from where to go on."""
        if not self._is_closed:
            self._outlet.write(Message("lagged", max(0, self.told)))
            self.close(CLOSE_LAGGED, "lagged")

    def close(self, code: int, reason: str) -> None:
        """End it from our side."""
        if not self._is_closed:
            self._is_closed = True
            self._leave(self)
            self._outlet.close(code, reason)

    def end(self) -> None:
        """Forget it: its client is gone, or has been let go."""
        self._is_closed = True
        if self._latest_timer is not None:
            self._latest_timer.cancel()
            self._latest_timer = None
