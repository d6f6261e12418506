"""One stream: nothing twice, nothing out of order, and a client that does not read is let go."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

from jobqueue.api.live.messages import Message, of_event
from jobqueue.api.live.stream import HELD_MAX, Stream
from jobqueue.domain.access import Principal
from jobqueue.domain.feed import PROGRESS, Choice, FeedEvent, cursor_after
from jobqueue.domain.lifecycle import Status

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PRINCIPAL = Principal("key", "k", 1, "acme", frozenset({"jobs:read"}))
JOB, OTHER = UUID(int=1), UUID(int=2)


class Client:
    """What a client was sent. room: messages it takes before it stops reading."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.told: list[tuple[str, int]] = []
        self.closed: tuple[int, str] | None = None

    def write(self, message: Message) -> bool:
        self.told.append((message.kind, message.cursor))
        self.room -= 1
        return self.room >= 0

    async def drained(self) -> None:
        if self.room < 0:
            raise TimeoutError

    def close(self, code: int, reason: str, /) -> None:
        self.closed = (code, reason)


def stream_to(client: Client, *, is_latest: bool = False) -> tuple[Stream, list[Stream]]:
    left: list[Stream] = []
    return Stream(PRINCIPAL, Choice(), client, is_latest=is_latest, expires_at_s=None, leave=left.append), left


def offer(stream: Stream, cursor: int, *, job: UUID = JOB, kind: str = "queued") -> None:
    event = FeedEvent(cursor, kind, NOW, 1, job, "q", "t", Status.QUEUED, 0, None)
    stream.offer(event, of_event(event, "acme"))


def cursors(client: Client) -> list[int]:
    return [cursor for _, cursor in client.told]


def test_live_event_is_sent_once() -> None:
    client = Client()
    stream, _ = stream_to(client)
    for cursor in (8, 9, 9, 8, 10):
        offer(stream, cursor)
    assert cursors(client) == [8, 9, 10]


def test_what_came_while_catching_up_follows_what_was_caught_up_and_nothing_is_twice() -> None:
    client = Client()
    stream, _ = stream_to(client)
    stream.hold()
    for cursor in (80, 88, 96):
        offer(stream, cursor)
    assert client.told == []
    assert stream.release(told=cursor_after(10))
    assert cursors(client) == [88, 96]


def test_stream_that_got_too_much_while_catching_up_goes_round_again_and_loses_nothing() -> None:
    client = Client()
    stream, _ = stream_to(client)
    stream.hold()
    for cursor in range(HELD_MAX + 1):
        offer(stream, 80 + 8 * cursor)
    assert not stream.release(told=cursor_after(10))
    assert client.told == []
    stream.hold()
    offer(stream, 80 + 8 * (HELD_MAX + 1))
    assert stream.release(told=80 + 8 * HELD_MAX)
    assert cursors(client) == [80 + 8 * (HELD_MAX + 1)]


def test_event_a_snapshot_has_shown_is_not_told_again_but_the_next_of_its_job_is() -> None:
    client = Client()
    stream, _ = stream_to(client)
    stream.hold()
    offer(stream, 8 * 20)  # is in the snapshot, which was read after the position
    offer(stream, 8 * 20 + 8, job=OTHER)
    offer(stream, 8 * 22)
    assert stream.release(told=cursor_after(10), rows={JOB: 21})
    assert cursors(client) == [8 * 20 + 8, 8 * 22]


def test_client_that_does_not_read_is_told_so_and_let_go() -> None:
    client = Client(room=2)
    stream, left = stream_to(client)
    for cursor in (8, 16, 24, 32):
        offer(stream, cursor)
    assert client.told[-1] == ("lagged", 24)
    assert client.closed == (4008, "lagged")
    assert left == [stream]


async def test_client_that_does_not_read_its_past_is_let_go_as_well() -> None:
    client = Client(room=-1)
    stream, left = stream_to(client)
    try:
        await stream.drained()
    except ConnectionError:
        pass
    else:
        raise AssertionError("nobody noticed")
    assert (client.closed, left) == ((4008, "lagged"), [stream])


async def test_newest_state_of_each_job_is_all_that_is_sent_of_a_burst() -> None:
    client = Client()
    stream, _ = stream_to(client, is_latest=True)
    for cursor in (8, 16, 24):
        offer(stream, cursor)
    offer(stream, 32, job=OTHER)
    offer(stream, 40)
    while len(client.told) < 2:
        await asyncio.sleep(0)
    assert cursors(client) == [32, 40]


def test_progress_is_told_without_moving_the_cursor_on() -> None:
    client = Client()
    stream, _ = stream_to(client)
    offer(stream, 16)
    offer(stream, 23, kind=PROGRESS)
    offer(stream, 17)
    assert cursors(client) == [16, 23, 17]
    assert stream.told == 17
