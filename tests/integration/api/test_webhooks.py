"""Webhooks over HTTP: made, changed, rotated, tested, looked at, sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import httpx2
import pytest

from jobqueue.domain.addresses import parse_networks
from jobqueue.domain.webhook import EVENT_TYPES
from jobqueue.operations.webhooks import WEBHOOKS_MAX
from jobqueue.outbound.http import Guard
from jobqueue.protocol.webhooks import EventType
from tests.engine import request
from tests.integration.api.conftest import SECRET, Api, make_key, open_api
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.stepping import Webhooks

PUBLIC = "https://example.com/hook?token=t"
HERE = Guard(allowed=parse_networks(["127.0.0.1"]))


async def make(api: Api, url: str = PUBLIC, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/webhooks", json={"url": url, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@asynccontextmanager
async def told(database: str, **fields: Any) -> AsyncIterator[tuple[Api, Webhooks, Receiver, dict[str, Any]]]:
    """An API, what delivers, a receiver on this machine, and a webhook for it, its secret known to the receiver."""
    async with open_api(database, webhook_guard=HERE) as api, receiving() as receiver:
        webhooks = Webhooks(api.engine)
        hook = await make(api, receiver.url, **fields)
        receiver.secret = hook["secret"]
        await webhooks.settle()
        yield api, webhooks, receiver, hook


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_types_on_the_line_are_those_of_the_history() -> None:
    assert get_args(EventType) == EVENT_TYPES


# --------------------------------------------------------------------------------------------------------- endpoints


async def test_webhook_is_made_shown_listed_changed_and_deleted(api: Api) -> None:
    made = await make(api, event_types=["job.dlq", "job.succeeded"], queues=["mails"], description="ours")
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert (await api.client.get(f"/v1/webhooks/{made['id']}")).json() == shown
    assert (await api.client.get("/v1/webhooks")).json() == {"items": [shown], "next_cursor": None, "has_more": False}
    answer = await api.client.patch(f"/v1/webhooks/{made['id']}", json={"queues": [], "description": None, "state": "disabled"})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["queues"], changed["description"], changed["state"], changed["disabled_reason"]) == ([], None, "disabled", "asked")
    assert changed["event_types"] == ["job.dlq", "job.succeeded"]
    answer = await api.client.patch(f"/v1/webhooks/{made['id']}", json={"state": "active"})
    assert (answer.json()["state"], answer.json()["disabled_reason"], answer.json()["disabled_at"]) == ("active", None, None)
    assert (await api.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert problem(await api.client.get(f"/v1/webhooks/{made['id']}")) == (404, "not_found")
    assert problem(await api.client.delete(f"/v1/webhooks/{made['id']}")) == (404, "not_found")


async def test_secret_is_shown_when_it_is_made_and_stands_nowhere_else(api: Api) -> None:
    made = await make(api)
    rotated = (await api.client.post(f"/v1/webhooks/{made['id']}/rotate-secret")).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    for path in ("/v1/webhooks", f"/v1/webhooks/{made['id']}"):
        assert "whsec_" not in (await api.client.get(path)).text
    rows = str([dict(row) for row in await api.engine.raw.fetch("SELECT * FROM jobqueue.webhook")])
    for secret in (made["secret"], rotated["secret"]):
        assert secret.removeprefix("whsec_") not in rows


async def test_list_is_paged(api: Api) -> None:
    ids = [(await make(api))["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"page_size": 2}
    while True:
        page = (await api.client.get("/v1/webhooks", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]
    assert problem(await api.client.get("/v1/webhooks", params={"cursor": "bm9uZQ"})) == (400, "cursor_invalid")


async def test_tenant_has_so_many_webhooks_and_no_more(api: Api) -> None:
    for _ in range(WEBHOOKS_MAX):
        await make(api)
    assert problem(await api.client.post("/v1/webhooks", json={"url": PUBLIC})) == (409, "webhooks_exhausted")


NEVER = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://[::1]/",
    "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/", "http://localhost/", "http://a.localhost./", "http://224.0.0.1/", "http://0/", "https://example.com:8443/",
    "https://user:pass@example.com/", "ftp://example.com/", "example.com", "", "https://", "http://example.com:99999/",
]  # fmt: skip


async def test_address_that_can_never_be_delivered_to_is_refused_at_once(api: Api) -> None:
    made = await make(api)
    for url in NEVER:
        answer = await api.client.post("/v1/webhooks", json={"url": url})
        assert problem(answer) == (422, "invalid_fields"), url
        assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/url"], url
        assert problem(await api.client.patch(f"/v1/webhooks/{made['id']}", json={"url": url})) == (422, "invalid_fields"), url


async def test_field_that_is_wrong_is_named(api: Api) -> None:
    for body, pointer in (
        ({}, "/url"),
        ({"url": PUBLIC, "secret": "x"}, "/secret"),
        ({"url": PUBLIC, "event_types": ["job.progress"]}, "/event_types/0"),
        ({"url": PUBLIC, "queues": ["a b"]}, "/queues/0"),
        ({"url": PUBLIC, "description": "x" * 201}, "/description"),
    ):
        answer = await api.client.post("/v1/webhooks", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_webhooks_ask_for_the_scope_of_who_administers_the_tenant(api: Api) -> None:
    key = await make_key(api.engine, api.caller, ["jobs:read", "jobs:write", "work", "metrics:read"])
    async with api.as_other(key) as other:
        for method, path in (("GET", "/v1/webhooks"), ("POST", "/v1/webhooks"), ("GET", f"/v1/webhooks/{uuid4()}/deliveries")):
            assert problem(await other.request(method, path)) == (403, "scope_missing")


# -------------------------------------------------------------------------------------------------------- deliveries


async def test_receiver_verifies_with_the_secret_it_was_shown_and_with_the_new_one_while_one_replaces_the_other(database: str) -> None:
    async with told(database) as (api, webhooks, receiver, hook):
        await api.submit()
        await webhooks.settle()
        assert await webhooks.send() == [204]
        rotated = (await api.client.post(f"/v1/webhooks/{hook['id']}/rotate-secret", json={"grace_seconds": 600})).json()
        for secret in (hook["secret"], rotated["secret"]):
            receiver.secret = secret
            await api.submit()
            await webhooks.settle()
            assert await webhooks.send() == [204]
        await api.client.post(f"/v1/webhooks/{hook['id']}/rotate-secret", json={"grace_seconds": 0})
        await api.submit()
        await webhooks.settle()
        assert await webhooks.send() == [400]
        assert receiver.refused == 1


async def test_test_delivery_is_sent_whatever_the_filter_says(database: str) -> None:
    async with told(database, event_types=["job.dlq"]) as (api, webhooks, receiver, hook):
        answer = await api.client.post(f"/v1/webhooks/{hook['id']}/test")
        assert answer.status_code == 202
        assert await webhooks.send() == [204]
        shown = (await api.client.get(answer.headers["location"])).json()
        assert receiver.ids == [shown["id"]]
        assert receiver.got[0].body == shown["payload"]
        assert shown["payload"]["data"] == {"webhook_id": hook["id"], "tenant_id": "acme"}
        assert (shown["type"], shown["status"], shown["response_status"], shown["job_id"]) == ("webhook.test", "delivered", 204, None)
        await api.client.patch(f"/v1/webhooks/{hook['id']}", json={"state": "disabled"})
        assert problem(await api.client.post(f"/v1/webhooks/{hook['id']}/test")) == (409, "webhook_disabled")
    assert webhooks.faults == []


async def test_deliveries_are_listed_with_status_answer_and_time_by_every_filter(database: str) -> None:
    async with told(database) as (api, webhooks, receiver, hook):
        receiver.says = lambda got: 204 if got.body["type"] == "job.submitted" else 500
        jobs = [await api.engine.succeeded(api.caller) for _ in range(2)]
        await webhooks.settle()
        await webhooks.send()
        path = f"/v1/webhooks/{hook['id']}/deliveries"

        async def listed(**query: Any) -> list[dict[str, Any]]:
            answer = await api.client.get(path, params=query)
            assert answer.status_code == 200, answer.text
            return list(answer.json()["items"])

        every = await listed()
        assert [one["type"] for one in every[:4]] == ["job.succeeded", "job.started", "job.leased", "job.submitted"]
        assert [one["id"] for one in every] == receiver.ids[::-1]
        assert {one["response_status"] for one in await listed(status="delivered")} == {204}
        waiting = await listed(status="pending")
        assert {(one["response_status"], one["error"], one["attempts"], one["response_excerpt"]) for one in waiting} == {
            (500, "the answer is 500", 1, "said")
        }
        assert all(one["last_attempt_at"] < one["next_attempt_at"] for one in waiting)
        assert len(await listed(status=["pending", "delivered"])) == 8
        assert {one["job_id"] for one in await listed(job_id=str(jobs[0]))} == {str(jobs[0])}
        assert len(await listed(type=["job.submitted", "job.leased"])) == 4
        middle = sorted(one["event_at"] for one in every)[4]
        assert len(await listed(after=middle)) == 4
        assert len(await listed(before=middle)) == 4
        seen: list[str] = []
        query: dict[str, Any] = {"page_size": 3}
        while True:
            page = (await api.client.get(path, params=query)).json()
            seen += [one["id"] for one in page["items"]]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == [one["id"] for one in every]


async def test_one_delivery_is_sent_again_under_its_id(database: str) -> None:
    async with told(database) as (api, webhooks, receiver, hook):
        await api.submit()
        await webhooks.settle()
        await webhooks.send()
        path = f"/v1/webhooks/{hook['id']}/deliveries/{receiver.ids[0]}"
        answer = await api.client.post(f"{path}/replay")
        assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (200, "pending", 0)
        assert await webhooks.send() == [204]
        assert receiver.ids == [receiver.ids[0]] * 2
        assert (await api.client.get(path)).json()["payload"] == receiver.got[0].body


async def test_what_came_while_a_webhook_was_disabled_is_sent_by_a_replay_of_that_time(database: str) -> None:
    async with told(database) as (api, webhooks, receiver, hook):
        one = f"/v1/webhooks/{hook['id']}"
        await api.client.patch(one, json={"state": "disabled"})
        await api.engine.submit_all(api.caller, [request() for _ in range(3)])
        await webhooks.settle()
        begin = await api.engine.now()
        await api.engine.submit_all(api.caller, [request() for _ in range(4)])
        await webhooks.settle()
        await api.client.patch(one, json={"state": "active"})
        assert await webhooks.send() == []
        answer = await api.client.post(
            f"{one}/replay", json={"after": begin.isoformat(), "before": (begin + timedelta(days=1)).isoformat()}
        )
        assert answer.json() == {"count": 4, "next_cursor": None}
        assert await webhooks.send() == [204] * 4
        assert (await api.client.post(f"{one}/replay")).json()["count"] == 3
        assert await webhooks.send() == [204] * 3
        assert (await api.client.post(f"{one}/replay")).json()["count"] == 0
        assert (await api.client.post(f"{one}/replay", json={"status": ["delivered"]})).json()["count"] == 7
        assert len(set(receiver.ids)) == 7


async def test_unknown_and_malformed_ids_are_not_found(api: Api) -> None:
    hook, other = await make(api), await make(api)
    delivery = (await api.client.post(f"/v1/webhooks/{hook['id']}/test")).json()["id"]
    for path in (
        f"/v1/webhooks/{uuid4()}",
        "/v1/webhooks/x",
        f"/v1/webhooks/{uuid4()}/deliveries",
        f"/v1/webhooks/{hook['id']}/deliveries/x",
        f"/v1/webhooks/{hook['id']}/deliveries/{uuid4()}",
        f"/v1/webhooks/{other['id']}/deliveries/{delivery}",
    ):
        assert problem(await api.client.get(path)) == (404, "not_found"), path
    assert UUID(delivery).version == 8


async def test_secrets_of_the_api_open_what_was_sealed_here(api: Api) -> None:
    from jobqueue.operations.webhook_secrets import SecretBox, SecretUnreadable

    await make(api)
    sealed = await api.engine.raw.fetchval("SELECT secret_sealed FROM jobqueue.webhook")
    assert len(SecretBox([SECRET]).open(sealed)) == 32
    with pytest.raises(SecretUnreadable):
        SecretBox([SECRET + "!"]).open(sealed)
