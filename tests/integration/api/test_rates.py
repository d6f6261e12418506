"""The rate at the door: what counts, what an answer says of it, and what a refused caller is told."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest_asyncio

from jobqueue.operations import tenants
from jobqueue.operations.jobs import Caller
from jobqueue.store.pool import Database
from tests.engine import request
from tests.integration.api.conftest import Api, make_key, open_api

RATE = 6
BURST = 12
LIMIT = re.compile(r'"burst";r=(\d+);t=(\d+)')


@pytest_asyncio.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """An API whose tenants make six requests a minute."""
    async with asyncio.timeout(60), open_api(database, rate_per_minute=RATE, max_queued=1) as api:
        yield api


async def left(api: Api) -> int:
    """How many requests the tenant may make, before this one."""
    found = LIMIT.fullmatch((await api.client.get("/auth/me")).headers["ratelimit"])
    assert found
    return int(found[1]) + 1


async def test_an_answer_says_the_rate_and_how_many_requests_are_left(api: Api) -> None:
    answer = await api.client.get("/auth/me")
    assert answer.headers["ratelimit-policy"] == '"rate";q=6;w=60, "burst";q=12;w=120'
    found = LIMIT.fullmatch(answer.headers["ratelimit"])
    assert found
    assert int(found[1]) == BURST - 1
    assert 0 < int(found[2]) <= 60 / RATE


async def test_a_refusal_says_when_a_request_passes_and_one_does(api: Api) -> None:
    statuses = [(await api.client.get("/auth/me")).status_code for _ in range(BURST)]
    assert statuses == [200] * BURST
    refused = await api.client.get("/auth/me")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    wait_s = int(refused.headers["retry-after"])
    assert 1 <= wait_s <= 60 / RATE
    found = LIMIT.fullmatch(refused.headers["ratelimit"])
    assert found
    assert (found[1], found[2]) == ("0", str(wait_s))
    await api.engine.raw.execute("UPDATE jobqueue.rate_bucket SET filled_at = filled_at - $1 * interval '1 second'", wait_s)
    async with asyncio.timeout(5):  # this process asks an empty bucket again after a second
        while (await api.client.get("/auth/me")).status_code == 429:
            await asyncio.sleep(0.05)
    assert (await api.client.get("/auth/me")).status_code == 429


async def test_wrong_requests_count_and_refusals_do_not(api: Api) -> None:
    assert await left(api) == BURST
    assert (await api.client.get("/v1/jobs?no=1")).status_code == 422
    assert (await api.client.get("/v1/jobs/x")).status_code == 404
    assert await left(api) == BURST - 3
    async with api.as_other(await make_key(api.engine, api.caller, ["metrics:read"])) as other:
        assert (await other.get("/v1/jobs")).status_code == 403
    async with api.as_other("jq_wrong") as stranger:
        assert (await stranger.get("/v1/jobs")).status_code == 401
    assert await left(api) == BURST - 4


async def test_a_full_queue_s_refusal_does_not_count(api: Api) -> None:
    await api.engine.submit_all(api.caller, [request() for _ in range(5)])
    assert (await api.submit()).json()["code"] == "queue_full"
    assert await left(api) == BURST


async def test_token_exchange_and_open_routes_do_not_count(api: Api) -> None:
    for _ in range(BURST + 3):
        answer = await api.client.post("/auth/token", json={"api_key": api.key})
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
    assert (await api.client.get("/healthz/live")).status_code == 200
    assert await left(api) == BURST


async def test_what_failed_on_our_side_does_not_count(api: Api) -> None:
    assert await left(api) == BURST
    await api.engine.raw.execute("ALTER TABLE jobqueue.queue RENAME TO hidden")
    assert (await api.client.get("/v1/queues")).status_code == 500
    await api.engine.raw.execute("ALTER TABLE jobqueue.hidden RENAME TO queue")
    assert await left(api) >= BURST - 1  # more on a machine so slow that a request was added meanwhile


async def test_a_tenant_without_a_rate_is_told_none(api: Api) -> None:
    await tenants.create(api.engine.db, "free", rate_per_minute=0)
    free = Caller(await tenants.find(api.engine.db, "free"), "free")
    async with api.as_other(await make_key(api.engine, free)) as client:
        answers = [await client.get("/auth/me") for _ in range(3 * BURST)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("ratelimit" in answer.headers for answer in answers)


async def test_without_the_database_the_door_answers_as_for_any_other_call(api: Api) -> None:
    assert await left(api) == BURST
    db: Database = api.engine.db
    await db.close()
    answer = await api.client.get("/auth/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
