"""Live streams on a real server: in order, complete, once; nobody else's; and refused before the upgrade."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
import websockets
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection

from jobqueue.apps.http_server import HttpServer, bind
from jobqueue.operations import leases
from jobqueue.protocol.live import JobChanged, Lagged, Ready, Reset, SnapshotEnd, SnapshotJob
from tests.engine import OneConnection, outcome, settlement
from tests.integration.api.conftest import Api, make_key, open_api

HOST = "127.0.0.1"
MESSAGE: TypeAdapter[Any] = TypeAdapter(Ready | JobChanged | SnapshotJob | SnapshotEnd | Reset | Lagged)
SIMPLE = ["job.submitted", "job.leased", "job.started", "job.succeeded"]


class Listener:
    """One stream's client."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self) -> dict[str, Any]:
        """The next message, which must have the form the protocol gives it."""
        async with asyncio.timeout(20):
            said = await self.socket.recv()
        MESSAGE.validate_json(said)
        message: dict[str, Any] = json.loads(said)
        return message

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def types(self, count: int) -> list[str]:
        return [message["type"] for message in await self.take(count)]

    async def closed(self) -> int | None:
        """Wait for the server to close; answers its code."""
        async with asyncio.timeout(20):
            await self.socket.wait_closed()
        return self.socket.close_code


@dataclass
class Live:
    """An API on a real socket."""

    api: Api
    port: int

    @asynccontextmanager
    async def listening(self, *, key: str | None = None, ticket: str | None = None, **query: Any) -> AsyncIterator[Listener]:
        headers = {} if ticket else {"Authorization": f"Bearer {key or self.api.key}"}
        protocols = [websockets.Subprotocol(name) for name in ("jobqueue.v1", f"jobqueue.ticket.{ticket}")] if ticket else None
        address = f"ws://{HOST}:{self.port}/ws/jobs?{urlencode(query, doseq=True)}"
        async with websockets.connect(address, additional_headers=headers, subprotocols=protocols, compression=None) as socket:
            yield Listener(socket)

    async def refused(self, headers: dict[str, str] | None = None, **query: Any) -> httpx2.Response:
        """Ask for a stream that is not to be had; answers what was said by HTTP."""
        address = f"ws://{HOST}:{self.port}/ws/jobs?{urlencode(query, doseq=True)}"
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with websockets.connect(address, additional_headers=headers or {}):
                pass
        said = refusal.value.response
        return httpx2.Response(said.status_code, headers=list(said.headers.raw_items()), content=bytes(said.body or b""))


@asynccontextmanager
async def open_live(dsn: str) -> AsyncIterator[Live]:
    """Serve an API on a migrated database."""
    async with asyncio.timeout(90), open_api(dsn) as api:
        with bind(HOST, 0) as listener:
            server = HttpServer(api.app, listener, name="test", drain_s_max=1)
            service = asyncio.create_task(server.run())
            try:
                yield Live(api, server.port)
            finally:
                service.cancel()
                await asyncio.wait([service])


@pytest_asyncio.fixture
async def live(database: str) -> AsyncIterator[Live]:
    async with open_live(database) as live:
        yield live


async def run_one(api: Api, job_type: str = "t", **fields: Any) -> UUID:
    """A job from its submit to its success."""
    job_id = await api.engine.submit(api.caller, job_type, **fields)
    await api.engine.settle(await api.engine.claim_one(types=(job_type,)))
    return job_id


def of_jobs(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["type"], message["job"]["status"]) for message in messages]


async def test_a_job_is_told_from_its_submit_to_its_success(live: Live) -> None:
    async with live.listening() as listener:
        assert (await listener.next())["type"] == "ready"
        job_id = await run_one(live.api)
        told = await listener.take(4)
    assert of_jobs(told) == list(zip(SIMPLE, ["queued", "leased", "running", "succeeded"], strict=True))
    assert {message["job"]["id"] for message in told} == {str(job_id)}
    history = (await live.api.client.get(f"/v1/jobs/{job_id}/events")).json()["items"]
    assert [int(message["cursor"]) for message in told] == [item["seq"] for item in history]
    assert [message["at"] for message in told] == [item["at"] for item in history]


async def test_stream_goes_on_behind_its_cursor_wherever_it_broke_off(live: Live) -> None:
    job_id = await run_one(live.api)
    async with live.listening(after="0") as listener:
        whole = (await listener.take(5))[1:]
    for known in range(4):
        async with live.listening(after=whole[known]["cursor"]) as listener:
            assert await listener.next() == {"type": "ready", "cursor": whole[known]["cursor"]}
            await run_one(live.api)
            assert (await listener.take(3 - known + 4))[: 3 - known] == whole[known + 1 :]
    assert {message["job"]["id"] for message in whole} == {str(job_id)}


async def test_filters_let_through_what_they_name_and_nothing_else(live: Live) -> None:
    other = await live.api.engine.submit(live.api.caller, "t", queue="mail")
    async with (
        live.listening(queue=["mail", "post"]) as by_queue,
        live.listening(job_type="u") as by_type,
        live.listening(job_id=str(other)) as by_id,
    ):
        for listener in (by_queue, by_type, by_id):
            await listener.next()
        first = await live.api.engine.submit(live.api.caller, "u", queue="default")
        await live.api.engine.settle(await live.api.engine.claim_one(types=("t",)))
        second = await live.api.engine.submit(live.api.caller, "u", queue="post")
        ids = [
            [message["job"]["id"] for message in await listener.take(count)]
            for listener, count in ((by_queue, 4), (by_type, 2), (by_id, 3))
        ]
    assert ids == [[str(other)] * 3 + [str(second)], [str(first), str(second)], [str(other)] * 3]


async def test_transaction_that_commits_late_is_waited_for_and_its_smaller_number_told_first(live: Live) -> None:
    """The writer that draws its number first commits last: who reads `seq > last` would lose it."""
    engine = live.api.engine
    async with live.listening() as listener:
        await listener.next()
        early = await engine.connect()
        try:
            transaction = early.transaction()
            await transaction.start()
            slow = await engine.submit(live.api.caller)  # to have a lease that the open transaction can settle
            lease = await engine.claim_one()
            assert [message["type"] for message in await listener.take(1)] == ["job.submitted"]
            await leases.settle(OneConnection(early), [settlement(lease, outcome())])
            quick = await engine.submit(live.api.caller)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await listener.socket.recv()
            await transaction.commit()
            told = await listener.take(4)
        finally:
            early.terminate()
    assert [(message["job"]["id"], message["type"]) for message in told] == [
        *((str(slow), kind) for kind in SIMPLE[1:]),
        (str(quick), "job.submitted"),
    ]


async def test_strangers_open_transaction_holds_nothing_up(live: Live) -> None:
    stranger = await live.api.engine.connect()
    await stranger.execute("CREATE TABLE public.theirs (x int)")
    async with stranger.transaction():
        await stranger.execute("INSERT INTO public.theirs VALUES (1)")
        async with live.listening() as listener:
            await listener.next()
            await run_one(live.api)
            assert await listener.types(4) == SIMPLE
    stranger.terminate()


async def test_snapshot_is_followed_by_what_came_after_it_without_a_gap_or_a_repeat(live: Live) -> None:
    engine = live.api.engine
    waiting = await engine.submit(live.api.caller, "w")
    done = await run_one(live.api)
    stop = asyncio.Event()

    async def write_on() -> None:
        while not stop.is_set():
            await run_one(live.api)

    writer = asyncio.create_task(write_on())
    histories: dict[str, list[int]] = {}
    shown: dict[str, str] = {}
    try:
        for _ in range(2):
            async with live.listening(snapshot="true") as listener:
                assert (await listener.next())["type"] == "ready"
                while (message := await listener.next())["type"] == "snapshot":
                    shown[message["job"]["id"]] = message["job"]["status"]
                assert message == {**message, "type": "snapshot_end", "is_complete": True}
                for message in await listener.take(40):
                    histories.setdefault(message["job"]["id"], []).append(int(message["cursor"]))
    finally:
        stop.set()
        await writer
    assert shown[str(waiting)] == "queued"
    assert str(done) not in shown
    for job_id, cursors in histories.items():
        items = (await live.api.client.get(f"/v1/jobs/{job_id}/events")).json()["items"]
        seqs = [item["seq"] for item in items]
        first = seqs.index(cursors[0])
        assert first == 0 or job_id in shown, "the beginning was neither shown nor told"
        assert cursors == seqs[first : first + len(cursors)]


async def test_snapshot_of_a_named_job_shows_it_in_whatever_state(live: Live) -> None:
    job_id = await run_one(live.api)
    async with live.listening(snapshot="1", job_id=str(job_id)) as listener:
        _, shown, end = await listener.take(3)
    assert (shown["job"]["status"], shown["job"]["progress"], end["jobs"]) == ("succeeded", 100.0, 1)


async def test_progress_is_live_and_comes_between_the_start_and_the_end(live: Live) -> None:
    engine = live.api.engine
    async with live.listening() as listener:
        await listener.next()
        await engine.submit(live.api.caller)
        lease = await engine.claim_one()
        await engine.start(lease)
        await engine.beat(lease, progress=40.0, message="half way")
        told = await listener.take(4)
        await engine.settle(lease)
        assert (await listener.next())["type"] == "job.succeeded"
    assert [message["type"] for message in told] == [*SIMPLE[:3], "job.progress"]
    assert (told[-1]["job"]["progress"], told[-1]["job"]["progress_message"], told[-1]["job"]["status"]) == (40.0, "half way", "running")


async def test_latest_mode_sends_the_newest_state_of_each_job(live: Live) -> None:
    async with live.listening(mode="latest") as listener:
        await listener.next()
        job_id = await run_one(live.api)
        while (message := await listener.next())["job"]["status"] != "succeeded":
            pass
    assert message["job"]["id"] == str(job_id)


async def test_history_that_is_gone_and_a_cursor_of_no_history_are_reset(live: Live) -> None:
    await run_one(live.api)
    await live.api.engine.raw.execute("INSERT INTO jobqueue.forgotten (seq) VALUES (1)")
    for after in ("7", str(10**15)):
        async with live.listening(after=after) as listener:
            ready, reset = await listener.take(2)
            assert (ready["type"], reset["type"], ready["cursor"]) == ("ready", "reset", reset["cursor"])
            await run_one(live.api)
            assert await listener.types(4) == SIMPLE
    async with live.listening(after="8") as listener:
        assert [message["type"] for message in await listener.take(2)] != ["ready", "reset"]


# ------------------------------------------------------------------------------------------------------ who may


async def test_ticket_opens_one_stream(live: Live) -> None:
    answer = await live.api.client.post("/v1/stream/tickets")
    assert (answer.status_code, answer.json()["expires_in"]) == (201, 30)
    ticket = answer.json()["ticket"]
    async with live.listening(ticket=ticket) as listener:
        assert listener.socket.subprotocol == "jobqueue.v1"
        assert (await listener.next())["type"] == "ready"
    refusal = await live.refused({"Sec-WebSocket-Protocol": f"jobqueue.v1, jobqueue.ticket.{ticket}"})
    assert refusal.status_code == 401


async def test_ticket_that_is_too_old_opens_none(live: Live) -> None:
    ticket = (await live.api.client.post("/v1/stream/tickets")).json()["ticket"]
    await live.api.engine.raw.execute("UPDATE jobqueue.stream_ticket SET expires_at = clock_timestamp()")
    assert (await live.refused({"Sec-WebSocket-Protocol": f"jobqueue.v1, jobqueue.ticket.{ticket}"})).status_code == 401


async def test_refusals_are_http_answers(live: Live) -> None:
    own = {"Authorization": f"Bearer {live.api.key}"}
    work = {"Authorization": f"Bearer {await make_key(live.api.engine, live.api.caller, ['work'])}"}
    for headers, query, status, code in (
        ({}, {}, 401, "unauthenticated"),
        ({"Authorization": "Bearer jq_no"}, {}, 401, "unauthenticated"),
        (work, {}, 403, "scope_missing"),
        (own, {"tenant_id": "other"}, 403, "wrong_tenant"),
        (own, {"nonsense": "1"}, 422, "invalid_fields"),
        (own, {"after": "x"}, 422, "invalid_fields"),
        (own, {"mode": "x"}, 422, "invalid_fields"),
        (own, {"snapshot": "1", "after": "1"}, 422, "invalid_fields"),
        ({**own, "X-Correlation-Id": "ä"}, {}, 400, "header_invalid"),
    ):
        refusal = await live.refused({name: value.encode().decode("latin-1") for name, value in headers.items()}, **query)
        assert (refusal.status_code, refusal.json()["code"]) == (status, code), query
        assert refusal.headers["content-type"] == "application/problem+json"
        assert refusal.headers["x-request-id"] == refusal.json()["request_id"]
    async with live.listening(tenant_id=live.api.caller.tenant) as listener:
        assert (await listener.next())["type"] == "ready"


async def test_tenant_has_only_so_many_streams(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.api.live.hub.TENANT_STREAMS_MAX", 1)
    async with live.listening() as listener:
        await listener.next()
        refusal = await live.refused({"Authorization": f"Bearer {live.api.key}"})
        assert (refusal.status_code, refusal.json()["code"], refusal.headers["retry-after"]) == (429, "too_many_streams", "5")
    while live.api.hub.watched():
        await asyncio.sleep(0.01)
    async with live.listening() as listener:
        await listener.next()


async def test_stream_ends_with_its_token_and_with_its_key(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.api.tokens.LIFETIME_S", 1)
    token = (await live.api.client.post("/auth/token", json={"api_key": live.api.key})).json()["access_token"]
    second = await make_key(live.api.engine, live.api.caller)
    async with live.listening(key=token) as by_token, live.listening(key=second) as by_key, live.listening() as stays:
        for listener in (by_token, by_key, stays):
            await listener.next()
        await live.api.engine.raw.execute("DELETE FROM jobqueue.api_key WHERE api_key_id = $1", second.split("_")[1])
        assert [await by_token.closed(), await by_key.closed()] == [4001, 4001]
        await run_one(live.api)
        assert await stays.types(4) == SIMPLE


async def test_no_byte_of_one_tenant_reaches_another(live: Live) -> None:
    engine = live.api.engine
    other = await engine.tenant("other-canary")
    key = await make_key(engine, other)
    async with live.listening() as ours, live.listening(key=key) as theirs, live.listening(key=key, queue="canary-queue") as filtered:
        for listener in (ours, theirs, filtered):
            await listener.next()
        await engine.submit(live.api.caller, "canary-type", queue="canary-queue")
        job_id = await engine.submit(live.api.caller, "t")
        lease = await engine.claim_one(worker="canary-worker")
        await engine.beat(lease, progress=1.0, message="canary-message")
        await engine.settle(lease)
        await engine.submit(other, "mine")
        assert "canary-type" in json.dumps(await ours.take(2))
        assert (await theirs.next())["job"]["tenant_id"] == "other-canary"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await filtered.socket.recv()
    async with live.listening(key=key, after="0") as again:
        _, only = await again.take(2)
        assert only["job"]["job_type"] == "mine"
    async with live.listening(key=key, after="0", job_id=str(job_id)) as theirs:
        await theirs.next()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await theirs.socket.recv()


async def test_server_that_stops_sends_its_clients_away_to_come_back(live: Live) -> None:
    async with live.listening() as listener:
        await listener.next()
        for stream in live.api.hub._all():
            stream.close(1012, "this process is stopping")
        assert await listener.closed() == 1012


# ----------------------------------------------------------------------------------------------- server-sent events


async def read_events(lines: AsyncIterator[str], count: int) -> list[dict[str, str]]:
    """Read so many server-sent events."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            if "data" in event:
                found.append(event)
            event = {}
        if len(found) == count:
            break
    return found


async def test_server_sent_events_are_the_same_stream_and_come_back_by_their_last_id(live: Live) -> None:
    headers = {"Authorization": f"Bearer {live.api.key}"}
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{live.port}", headers=headers, timeout=20) as client:
        async with client.stream("GET", "/v1/events") as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            lines = answer.aiter_lines()
            (ready,) = await read_events(lines, 1)
            await run_one(live.api)
            told = await read_events(lines, 4)
        assert [event["event"] for event in (ready, *told)] == ["ready", *SIMPLE]
        assert all(json.loads(event["data"])["cursor"] == event["id"] for event in told)
        async with client.stream("GET", "/v1/events", headers={"Last-Event-ID": told[1]["id"]}) as answer:
            again = await read_events(answer.aiter_lines(), 3)
        assert again[1:] == told[2:]
        assert (await client.get("/v1/events?mode=x")).status_code == 422
        assert (await client.get("/v1/events", headers={"Last-Event-ID": "x"})).status_code == 422
        assert (await client.get("/v1/events?tenant_id=other")).status_code == 403
        assert (await client.get("/v1/events", headers={"Authorization": "Bearer x"})).status_code == 401
    while live.api.hub.watched():
        await asyncio.sleep(0.01)


async def test_asyncapi_document_names_every_message(live: Live) -> None:
    document = (await live.api.client.get("/asyncapi.json")).json()
    assert document["asyncapi"] == "3.0.0"
    assert set(document["components"]["messages"]) == {"Ready", "JobChanged", "SnapshotJob", "SnapshotEnd", "Reset", "Lagged"}
    for message in document["components"]["messages"].values():
        assert message["payload"]["$ref"].rpartition("/")[2] in document["components"]["schemas"]
