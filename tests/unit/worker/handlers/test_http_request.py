"""The handler `http_request`: what comes back, what is tried again, what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.fakes.backend import FakeJob
from tests.unit.outbound.peer import Peer, answer, listening
from tests.unit.worker.handlers.running import failure, run

HERE = {"outbound_networks": ("127.0.0.0/8",)}


async def call(peer: Peer, data: dict[str, Any] | None = None, **options: Any) -> FakeJob:
    return await run("http_request", {"url": peer.url, **(data or {})}, **{**HERE, **options})


async def test_json_goes_there_and_comes_back() -> None:
    async with listening(answer(b'{"n": 1}', content_type="application/json; charset=utf-8")) as peer:
        job = await call(peer, {"method": "POST", "json": {"a": "ü"}, "headers": {"X-Own": "1"}})
    assert job.result["json"] == {"n": 1}
    assert (job.result["status"], job.result["bytes"], job.result["url"]) == (
        200,
        8,
        f"{peer.url}/" if job.result["url"][-1] == "/" else peer.url,
    )
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert orjson.loads(body) == {"a": "ü"}
    lines = head.lower().split(b"\r\n")
    assert {b"content-type: application/json", b"x-own: 1", b"user-agent: jobqueue", f"idempotency-key: {job.id}".encode()} <= set(lines)


async def test_text_and_bytes_come_back_as_what_json_can_hold() -> None:
    async with listening(answer("grüße".encode()), answer(b"\xff\x00")) as peer:
        assert (await call(peer)).result["text"] == "grüße"
        assert (await call(peer)).result["base64"] == "/wA="


async def test_body_may_go_to_a_file_of_the_tenants(tmp_path: Path) -> None:
    async with listening(answer(b"x" * 300_000)) as peer:
        job = await call(peer, {"output": "got/it.bin"}, files_dir=str(tmp_path))
    assert (job.result["output"], job.result["bytes"]) == ("got/it.bin", 300_000)
    assert (tmp_path / "demo/got/it.bin").read_bytes() == b"x" * 300_000


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_answer_that_may_be_another_one_later_is_tried_again(status: int) -> None:
    async with listening(answer(status=status, retry_after="7")) as peer:
        job = await call(peer)
    assert failure(job) == ("failed", "Retry", f"the answer is {status}")
    assert job.outcome.delay_s == 7


@pytest.mark.parametrize("status", [301, 400, 404, 410])
async def test_answer_that_stays_buries_the_job(status: int) -> None:
    async with listening(answer(status=status)) as peer:
        assert failure(await call(peer)) == ("dlq", "Discard", f"the answer is {status}")


async def test_expected_statuses_are_the_jobs_word() -> None:
    async with listening(answer(status=404)) as peer:
        assert (await call(peer, {"expect": [404]})).result["status"] == 404
        assert failure(await call(peer, {"expect": [200]}))[0] == "dlq"


async def test_address_that_is_not_public_buries_the_job_and_is_not_reached() -> None:
    async with listening(answer(b"secret")) as peer:
        job = await call(peer, outbound_networks=())
    assert failure(job) == ("dlq", "Discard", "'127.0.0.1' leads to an address that is not to be reached: loopback")
    assert peer.requests == []


async def test_answer_beyond_the_bound_buries_the_job() -> None:
    async with listening(answer(b"x" * 200_000)) as peer:
        assert failure(await call(peer)) == ("dlq", "Discard", "the answer has more than 131072 bytes")


@pytest.mark.parametrize("data", [{"json": 1, "body": "x"}, {"max_bytes": 200_000}, {"timeout": 0}, {"redirects": 6}, {"method": "TRACE"}])
async def test_arguments_that_cannot_be_are_named(data: dict[str, Any]) -> None:
    async with listening(answer()) as peer:
        status, kind, message = failure(await call(peer, data))
    assert (status, kind) == ("dlq", "ArgumentError")
    assert f"'{next(iter(data))}'" in message
    assert peer.requests == []


async def test_nobody_there_and_silence_are_tried_again() -> None:
    async with listening(b"") as peer:
        assert failure(await call(peer, {"timeout": 0.1})) == ("failed", "Retry", "the answer was not complete within 0.1 s")
    status, kind, message = failure(await call(peer))
    assert (status, kind) == ("failed", "Retry")
    assert message.startswith("no connection to '127.0.0.1'")
