"""What a connection may cost and how it is cut: slow and silent callers, heads too large, requests that are two things at once."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobqueue.apps.http_protocol import ConnectionLimits
from jobqueue.apps.http_server import HttpServer, bind
from tests.integration.api.conftest import open_api

HOST = "127.0.0.1"
ARRIVAL_S = 0.6
QUICK = ConnectionLimits(arrival_s=ARRIVAL_S, bytes_min=1_000, connections_max=20)
CLOSED_S_MAX = 6.0
"""On a busy machine; the slow ones would go on for longer than this."""
GET = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving(app: Any, limits: ConnectionLimits = QUICK) -> AsyncIterator[int]:
    """An application on a real socket; answers its port."""
    server = HttpServer(app, bind(HOST, 0), name="test", drain_s_max=1.0, limits=limits)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await asyncio.sleep(0)
        yield server.port
        task.cancel()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method and the body; `/early` without reading it, `/slow` only after a while, `/large` with a lot."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if scope["path"] == "/slow":
            await asyncio.sleep(2 * ARRIVAL_S)
    content = b"x" * 20_000_000 if scope["path"] == "/large" else scope["method"].encode() + b" %d" % len(body)
    headers = [(b"content-length", b"%d" % len(content)), (b"x-seen", b" ".join(name for name, _ in scope["headers"]))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(content), 65_536):
        await send({"type": "http.response.body", "body": content[start : start + 65_536], "more_body": start + 65_536 < len(content)})


async def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """Send parts with pauses; answers all that came until the end, and after how long that was."""
    begun_s = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)

    async def drip() -> None:
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except OSError:
            pass

    async with asyncio.TaskGroup() as group:
        dripping = group.create_task(drip())
        try:
            answer = await reader.read()
        except OSError:
            answer = b""
        dripping.cancel()
    writer.close()
    return answer, time.monotonic() - begun_s


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers on one connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answer)]


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
SLOW = {
    "silent": ([b""], []),
    "a head byte by byte": ([*(bytes([byte]) for byte in HEAD + b"X: "), *[b"y"] * 200], [408]),
    "headers one by one": ([HEAD, *(b"X-%d: y\r\n" % number for number in range(90))], [408]),
    "a body byte by byte": ([HEAD + b"Content-Length: 500\r\n\r\n", *[b"y"] * 200], [408]),
    "no body at all": ([HEAD + b"Content-Length: 500\r\n\r\n"], [408]),
    "chunks byte by byte": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\ny\r\n"] * 200], [408]),
    "a chunk's extension that never ends": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", *[b"e" * 300] * 200], [408]),
    "trailers that never end": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *(b"X-%d: y\r\n" % n for n in range(200))], [408]),
    "a body nobody reads": ([b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n", *[b"y"] * 200], [200]),
    "a second head": ([GET, *(bytes([byte]) for byte in HEAD + b"X: "), *[b"y"] * 200], [200, 408]),
    "empty lines": ([b"\r\n"] * 200, [408]),
}


async def test_slow_requests_are_ended_in_time() -> None:
    async with serving(echo) as port, asyncio.TaskGroup() as group:
        ends = {name: group.create_task(talk(port, *parts, pause_s=ARRIVAL_S / 12)) for name, (parts, _) in SLOW.items()}
        for name, end in ends.items():
            answer, after_s = await end
            assert statuses(answer) == SLOW[name][1], (name, answer)
            assert ARRIVAL_S * 0.9 < after_s < CLOSED_S_MAX, name
            if SLOW[name][1][-1:] == [408]:
                assert b'"code":"request_timeout"' in answer, name
                assert b"connection: close" in answer, name


async def test_a_body_that_keeps_coming_is_read_for_as_long_as_it_takes() -> None:
    async with serving(echo) as port:
        parts = [HEAD + b"Connection: close\r\nContent-Length: 24000\r\n\r\n", *[b"y" * 1_000] * 24]
        answer, after_s = await talk(port, *parts, pause_s=ARRIVAL_S / 8)
    assert answer.endswith(b"POST 24000")
    assert after_s > 2 * ARRIVAL_S


async def test_a_caller_does_not_pay_for_our_slowness() -> None:
    """A body that waits in our buffer, and a caller who waits for 100 Continue, are not late."""
    async with serving(echo) as port:
        parts = [b"POST /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n", b"y" * 300_000]
        answer, after_s = await talk(port, *parts)
        assert answer.endswith(b"POST 300000")
        assert after_s > 2 * ARRIVAL_S


async def test_an_idle_connection_between_requests_is_kept() -> None:
    async with serving(echo) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        for _ in range(2):
            writer.write(GET)
            assert (await reader.readuntil(b"GET 0")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(2 * ARRIVAL_S)
        writer.close()


async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    async with serving(echo) as port:
        reader, writer = await asyncio.open_connection(HOST, port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(3 * ARRIVAL_S)
        received = 0
        try:
            while chunk := await reader.read(1_000_000):
                received += len(chunk)
        except ConnectionError:
            pass
        assert received < 20_000_000
        writer.close()


async def test_who_reads_a_large_answer_gets_all_of_it() -> None:
    async with serving(echo) as port:
        answer, _ = await talk(port, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(answer) > 20_000_000


LARGE = {
    "one long header": HEAD + b"X-Long: " + b"y" * 40_000 + b"\r\n\r\n",
    "one that does not end": HEAD + b"X-Long: " + b"y" * 40_000,
    "a long address": b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an address that does not end": b"GET /" + b"y" * 40_000,
    "many headers": HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(101)) + b"\r\n",
    "many long headers": HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 2000) for number in range(60)) + b"\r\n",
}


@pytest.mark.parametrize("head", LARGE.values(), ids=LARGE)
async def test_too_large_a_head_is_refused(head: bytes) -> None:
    async with serving(echo) as port:
        answer, after_s = await talk(port, head)
    assert statuses(answer) == [431]
    assert b'"code":"head_too_large"' in answer
    assert b"x-content-type-options: nosniff" in answer
    assert after_s < ARRIVAL_S


async def test_a_large_head_that_is_not_too_large_passes() -> None:
    head = HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 300) for number in range(90)) + b"Connection: close\r\n\r\n"
    async with serving(echo) as port:
        assert statuses((await talk(port, head))[0]) == [200]


async def test_trailers_never_become_headers() -> None:
    parts = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    async with serving(echo) as port:
        answer, _ = await talk(port, parts)
    assert statuses(answer) == [200]
    assert b"authorization" not in answer.lower()


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    slow = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny"
    async with serving(echo) as port:
        for broken, status in ((b"NONSENSE\r\n\r\n", 400), (HEAD + b"X: " + b"y" * 40_000 + b"\r\n\r\n", 431)):
            answer, _ = await talk(port, slow + GET + broken)
            assert statuses(answer) == [200, 200, status], broken[:20]


async def test_more_connections_than_there_is_room_for_are_closed_and_the_others_live() -> None:
    async with serving(echo) as port:
        held = [await asyncio.open_connection(HOST, port) for _ in range(QUICK.connections_max)]
        assert (await talk(port, GET))[0] == b""
        reader, writer = held[0]
        writer.write(GET)
        assert (await reader.readuntil(b"GET 0")).startswith(b"HTTP/1.1 200")
        for _, writer in held:
            writer.close()


# ------------------------------------------------------------------------------------------------ one request, or two?

CANARY = (
    b'POST /v1/jobs HTTP/1.1\r\nHost: x\r\n%s\r\nIdempotency-Key: canary\r\nContent-Length: 32\r\n\r\n{"payload":{"job_type":"canary"}}'
)
ONE = b'{"payload":{"job_type":"t"}}'
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\n"


END, CLOSE = b"\r\nContent-Length: 28\r\n\r\n" + ONE, b"\r\nConnection: close"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def framed(*headers: bytes, body: Callable[[bytes], bytes] = chunked) -> Callable[[bytes, bytes], bytes]:
    """A request whose framing can be read in two ways; one of them has the canary in or after its body."""
    return lambda key, canary: POST + key + b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body(ONE) + canary


SMUGGLED = {
    "a length and chunks": framed(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    "chunks and a length": framed(b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "two lengths": framed(b"Content-Length: 28", b"Content-Length: 0", body=bytes),
    "two lengths in one": framed(b"Content-Length: 28, 0", body=bytes),
    "a signed length": framed(b"Content-Length: +28", body=bytes),
    "a length in hexadecimal": framed(b"Content-Length: 0x1c", body=bytes),
    "a length of too many digits": framed(b"Content-Length: 99999999999999999999999", body=bytes),
    "another coding": framed(b"Transfer-Encoding: xchunked"),
    "chunked, then another": framed(b"Transfer-Encoding: chunked, identity"),
    "chunked twice": framed(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "a folded header": framed(b"Transfer-Encoding:", b" chunked"),
    "a space before the colon": framed(b"Transfer-Encoding : chunked"),
    "a tab in the name": framed(b"Transfer\tEncoding: chunked"),
    "a control character": framed(b"Transfer-Encoding: \x0bchunked"),
    "a chunk's size with a sign": framed(b"Transfer-Encoding: chunked", body=lambda body: b"+1c\r\n" + body + b"\r\n0\r\n\r\n"),
    "a chunk's size with 0x": framed(b"Transfer-Encoding: chunked", body=lambda body: b"0x1c\r\n" + body + b"\r\n0\r\n\r\n"),
    "a chunk without its end": framed(b"Transfer-Encoding: chunked", body=lambda body: b"1c\r\n" + body + b"0\r\n\r\n"),
    "lines that end in LF": lambda key, canary: (POST + key + b"\r\nContent-Length: 28\r\n\r\n").replace(b"\r\n", b"\n") + ONE + canary,
    "a line that ends in CR": lambda key, canary: POST + key + b"\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n" + chunked(ONE) + canary,
    "a NUL in a header": lambda key, canary: POST + key + b"\r\nX: a\0b\r\nContent-Length: 28\r\n\r\n" + ONE + canary,
    "no such version": lambda key, canary: (POST + key).replace(b"1.1", b"1.2", 1) + END + canary,
    "an upgrade we do not know, with a body": framed(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 28", body=bytes),
    "two hosts": framed(b"Host: y", b"Connection: close", b"Content-Length: 28", body=bytes),
    "a host with a path": lambda key, canary: (POST + key).replace(b"Host: x", b"Host: x/?#") + CLOSE + END,
    "no host": lambda key, canary: (POST + key).replace(b"Host: x\r\n", b"") + CLOSE + END,
}


async def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_run(database: str) -> None:
    async with open_api(database) as api, serving(api.app, ConnectionLimits()) as port:
        key = b"Authorization: Bearer " + api.key.encode()
        for name, make in SMUGGLED.items():
            answer, _ = await talk(port, make(key, CANARY % key))
            assert statuses(answer) == [400], (name, answer[:300])
        assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == 0


PLAIN = {
    "chunks": framed(b"Connection: close", b"Transfer-Encoding: chunked"),
    "a chunk with an extension": framed(
        b"Connection: close", b"Transfer-Encoding: chunked", body=lambda body: b"1c;a=b\r\n" + body + b"\r\n0\r\n\r\n"
    ),
    "a trailer": framed(b"Connection: close", b"Transfer-Encoding: chunked", body=lambda body: chunked(body)[:-2] + b"X: y\r\n\r\n"),
    "the whole address": lambda key, _: (POST + key).replace(b"/v1", b"http://elsewhere/v1") + CLOSE + END,
    "HTTP/1.0": lambda key, _: (POST + key).replace(b"1.1", b"1.0") + END,
    "HTTP/1.0 kept alive": lambda key, _: (POST + key).replace(b"1.1", b"1.0") + b"\r\nConnection: keep-alive" + END,
}


async def test_unusual_requests_that_mean_one_thing_are_taken_and_end_where_they_end(database: str) -> None:
    async with open_api(database) as api, serving(api.app, ConnectionLimits()) as port:
        key = b"Authorization: Bearer " + api.key.encode()
        for name, make in PLAIN.items():
            answer, _ = await talk(port, make(key, CANARY % key))
            assert statuses(answer) in ([200], [201]), (name, answer[:300])
        assert await api.engine.raw.fetchval("SELECT array_agg(idempotency_key) FROM jobqueue.job") == ["one"]


async def test_an_unknown_caller_s_body_is_not_read(database: str) -> None:
    async with open_api(database) as api, serving(api.app, ConnectionLimits()) as port:
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 900000\r\n\r\n"
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(head + b"y" * 1_000)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        writer.close()
