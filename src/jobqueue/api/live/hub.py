"""The hub: which streams there are in this process, and who of them is told an event.

A stream is found by the narrowest thing it chose, so an event costs those who want it, not all who listen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.api.live.messages import Message, of_event
from jobqueue.api.live.stream import CLOSE_EXPIRED, CLOSE_RESTART, Stream
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import JobQueueError, Overloaded, TooManyStreams, Unauthenticated
from jobqueue.domain.feed import FeedEvent
from jobqueue.telemetry.events import StreamsMeasured, Telemetry

STREAMS_MAX: Final = 20_000
"""Of one process."""
TENANT_STREAMS_MAX: Final = 10_000
"""Of one tenant in one process."""
RETRY_S: Final = 5.0
CHECK_S: Final = 1.0
RECHECK_S: Final = 2.0
"""Between two looks whether a credential still lives; with what KeyRing remembers, a revoked one loses its streams within some seconds."""


class _Tenant:
    """The streams of one tenant, by what they chose."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.streams: set[Stream] = set()
        self._by: dict[object, set[Stream]] = defaultdict(set)

    def add(self, stream: Stream) -> None:
        self.streams.add(stream)
        for place in _places(stream):
            self._by[place].add(stream)

    def remove(self, stream: Stream) -> None:
        self.streams.discard(stream)
        for place in _places(stream):
            self._by[place].discard(stream)
            if not self._by[place]:
                del self._by[place]

    def listeners(self, event: FeedEvent) -> Iterator[Stream]:
        for place in (event.job_id, ("queue", event.queue), ("type", event.job_type), None):
            # a copy: a stream that is let go while it is told leaves the set
            for stream in tuple(self._by.get(place, ())):
                if stream.choice.wants(event):
                    yield stream


def _places(stream: Stream) -> Collection[object]:
    choice = stream.choice
    if choice.job_ids:
        return choice.job_ids
    if choice.queues:
        return [("queue", name) for name in choice.queues]
    if choice.job_types:
        return [("type", name) for name in choice.job_types]
    return [None]


class Hub:
    """Knows the streams. A service: it lets streams go whose credential has ended, and all of them when it ends."""

    name = "hub"

    def __init__(
        self,
        *,
        still_lives: Callable[[Principal], Awaitable[object]],
        now_s: Callable[[], float],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """still_lives raises Unauthenticated for a principal whose credential was revoked. now_s: Unix time, as tokens carry it."""
        self._still_lives = still_lives
        self._now_s = now_s
        self._clock = clock
        self._telemetry = telemetry
        self._tenants: dict[int, _Tenant] = {}
        self._count = 0
        self._is_over = False

    def watched(self) -> Collection[int]:
        """The tenants somebody listens for."""
        return self._tenants.keys()

    def check_room(self, principal: Principal) -> None:
        """Raise when there are as many streams as there may be: TooManyStreams for the tenant, Overloaded for the process."""
        if self._is_over or self._count >= STREAMS_MAX:
            raise Overloaded("this process takes no more streams")
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is not None and len(tenant.streams) >= TENANT_STREAMS_MAX:
            raise TooManyStreams("the tenant has as many live streams as it may have", retry_after_s=RETRY_S)

    def add(self, stream: Stream) -> None:
        """Take a stream in; it is offered what comes from now on."""
        principal = stream.principal
        tenant = self._tenants.setdefault(principal.tenant_id, _Tenant(principal.tenant))
        tenant.add(stream)
        self._count += 1

    def remove(self, stream: Stream) -> None:
        """Forget a stream; nothing happens when it is gone already."""
        tenant = self._tenants.get(stream.principal.tenant_id)
        if tenant is None or stream not in tenant.streams:
            return
        tenant.remove(stream)
        self._count -= 1
        if not tenant.streams:
            del self._tenants[stream.principal.tenant_id]

    def deliver(self, events: Sequence[FeedEvent]) -> None:
        """Tell events to those who chose them."""
        for event in events:
            tenant = self._tenants.get(event.tenant_id)
            if tenant is None:
                continue
            message: Message | None = None
            for stream in tenant.listeners(event):
                if message is None:
                    message = of_event(event, tenant.name)
                stream.offer(event, message)

    def restart(self) -> None:
        """The history went back: what was told may never have been. Everybody starts over."""
        for stream in self._all():
            stream.send(Message("reset", 0))
            stream.close(CLOSE_RESTART, "the history was restored")

    async def run(self) -> None:
        """Look after the streams until cancelled, then let all of them go: they come back to another process."""
        try:
            checked_at_s = self._clock.monotonic()
            while True:
                await self._clock.sleep(CHECK_S)
                self._telemetry.emit(StreamsMeasured(self._count))
                self._close_expired()
                if self._clock.monotonic() - checked_at_s >= RECHECK_S:
                    checked_at_s = self._clock.monotonic()
                    await self._close_revoked()
        finally:
            self._is_over = True
            for stream in self._all():
                stream.close(CLOSE_RESTART, "this process is stopping")

    def _close_expired(self) -> None:
        now_s = self._now_s()
        for stream in self._all():
            if stream.expires_at_s is not None and now_s >= stream.expires_at_s:
                stream.close(CLOSE_EXPIRED, "the token has expired")

    async def _close_revoked(self) -> None:
        holders: dict[tuple[str, str], list[Stream]] = defaultdict(list)
        for stream in self._all():
            holders[stream.principal.kind, stream.principal.id].append(stream)
        for streams in holders.values():
            try:
                await self._still_lives(streams[0].principal)
            except Unauthenticated:
                for stream in streams:
                    stream.close(CLOSE_EXPIRED, "the credential has ended")
            except JobQueueError:
                return  # the database is away: nobody is let go for that

    def _all(self) -> list[Stream]:
        return [stream for tenant in self._tenants.values() for stream in tenant.streams]
