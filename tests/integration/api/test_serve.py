"""The role as a whole: a real server on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from jobqueue import config
from jobqueue.apps import api as role
from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.apps.http_server import HttpServer, bind
from jobqueue.apps.refusals import StartRefused
from jobqueue.domain.errors import SchemaTooOld
from tests.engine import open_engine
from tests.integration.api.conftest import SECRET, make_key, open_api

HOST = "127.0.0.1"


@dataclass
class Served:
    client: httpx2.AsyncClient
    metrics: httpx2.AsyncClient
    port: int
    key: str
    stop: asyncio.Event
    task: asyncio.Task[None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def settings(dsn: str, **more: str) -> config.Settings:
    return config.load({"DATABASE_URL": dsn, "API_SECRET_KEY": SECRET, "JOBQUEUE_SHUTDOWN_GRACE_SECONDS": "2", **more})


@asynccontextmanager
async def served(dsn: str) -> AsyncIterator[Served]:
    async with open_engine(dsn) as engine:
        key = await make_key(engine, await engine.tenant())
    port, metrics_port, stop = free_port(), free_port(), asyncio.Event()
    chosen = settings(dsn, JOBQUEUE_METRICS_PORT=str(metrics_port))
    task = asyncio.create_task(role.serve(chosen, host=HOST, port=port, stop=stop))
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {key}"}) as client,
        httpx2.AsyncClient(base_url=f"http://{HOST}:{metrics_port}") as metrics,
    ):
        while not task.done():
            try:
                if (await client.get("/healthz/ready")).status_code == 200:
                    break
            except httpx2.HTTPError:
                await asyncio.sleep(0.02)
        try:
            yield Served(client, metrics, port, key, stop, task)
        finally:
            stop.set()
            await task


async def test_a_job_goes_in_over_a_socket_and_the_role_ends_when_told(database: str) -> None:
    async with served(database) as api:
        answer = await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 201
        assert (await api.client.get(answer.headers["location"])).json()["id"] == answer.json()["id"]
    assert api.task.done()


async def test_the_machines_port_shows_probes_and_metrics_without_credential(database: str) -> None:
    async with served(database) as api:
        assert (await api.metrics.get("/healthz/live")).json() == {"status": "ok"}
        assert (await api.metrics.get("/healthz/ready?verbose")).json()["checks"]["schema"] == "ok"
        metrics = await api.metrics.get("/metrics")
        assert 'api_requests_total{endpoint="/healthz/ready"' in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await api.metrics.get("/nope")).status_code == 404
        assert (await api.metrics.post("/metrics")).status_code == 405
        assert (await api.client.get("/metrics")).status_code == 200


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("framing", [b"Content-Length: 2000000", b"Transfer-Encoding: chunked"])
async def test_too_large_a_body_is_refused_before_it_has_been_sent_whole(database: str, framing: bytes) -> None:
    async with served(database) as api:
        reader, writer = await asyncio.open_connection(HOST, api.port)
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nAuthorization: Bearer " + api.key.encode()
        writer.write(head + b"\r\n" + framing + b"\r\n\r\n")
        if b"chunked" in framing:
            chunk = b"x" * 65536
            for _ in range(17):  # and no last chunk
                writer.write(b"10000\r\n" + chunk + b"\r\n")
        answer = await read_answer(reader)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


async def test_a_request_under_way_is_answered_while_the_role_drains(database: str) -> None:
    async with served(database) as api:
        reader, writer = await asyncio.open_connection(HOST, api.port)
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 30\r\nAuthorization: Bearer "
        body = b'{"payload": {"job_type": "t"}}'
        writer.write(head + api.key.encode() + b"\r\n\r\n" + body[:10])
        await writer.drain()
        await asyncio.sleep(0.2)
        api.stop.set()
        await asyncio.sleep(0.3)
        writer.write(body[10:])
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 201 ")
        writer.close()


async def test_a_port_in_use_refuses_the_start_by_name(database: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartRefused, match=f"port {port}"):
            await role.serve(settings(database), host=HOST, port=port, stop=asyncio.Event())


async def test_a_database_without_the_schema_refuses_the_start(empty_database: str) -> None:
    with pytest.raises(SchemaTooOld, match="jobqueue migrate"):
        await role.serve(settings(empty_database), host=HOST, port=free_port(), stop=asyncio.Event())


async def test_a_server_gives_up_on_a_request_that_outlives_the_grace() -> None:
    async def stuck(scope: object, receive: object, send: object) -> None:
        await asyncio.Event().wait()

    server = HttpServer(stuck, bind(HOST, 0), name="stuck", drain_s_max=1.0)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run())
        await asyncio.sleep(0.2)
        _, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.2)
        serving.cancel()
    writer.close()


async def test_while_the_database_is_away_callers_are_told_to_come_back_and_the_same_key_is_safe(
    database: str, server: EmbeddedServer
) -> None:
    async with open_api(database) as api:
        assert (await api.submit(key="before")).status_code == 201
        await server.stop_immediately()
        try:
            away = await api.submit(key="k")
            probe = await api.client.get("/healthz/live")
        finally:
            await server.start()
        assert (away.status_code, away.json()["code"], away.headers["retry-after"]) == (503, "database_unavailable", "1")
        assert probe.status_code == 200
        answers = [await api.submit(key=key) for key in ("k", "k", "before")]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
