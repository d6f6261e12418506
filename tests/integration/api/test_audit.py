"""Every route that changes something leaves its row in the audit trail, with no secret in it, and each reads only what is its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest_asyncio
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from jobqueue.apps import operator
from jobqueue.config import Settings
from jobqueue.domain.access import TENANT_SCOPES
from jobqueue.protocol.audit import AuditEntry, AuditPage
from tests.integration.api.conftest import Api, make_key, open_api
from tests.integration.api.replay import Asker
from tests.integration.api.test_isolation import canary, furnish

NO_ROW = {
    ("POST", "/v1/jobs"): "the job has its history",
    ("POST", "/v1/jobs/batch"): "the jobs have their history",
    ("POST", "/v1/jobs/import"): "the jobs have their history",
    ("POST", "/v1/leases"): "a claim is in the job's history",
    ("POST", "/v1/leases/settle"): "an outcome is in the job's history",
    ("POST", "/v1/jobs/{job_id}/complete"): "an outcome is in the job's history",
    ("POST", "/v1/jobs/{job_id}/fail"): "an outcome is in the job's history",
    ("POST", "/v1/jobs/{job_id}/release"): "an outcome is in the job's history",
    ("POST", "/v1/jobs/{job_id}/progress"): "progress is nobody's decision",
    ("PUT", "/v1/workers/{worker_id}"): "a worker's own start",
    ("POST", "/v1/workers/{worker_id}/heartbeat"): "a worker's own pulse",
    ("POST", "/v1/stream/tickets"): "a ticket lets its maker read for a moment, and changes nothing",
    ("POST", "/auth/token"): "a key in another form; the key's last use is kept with it",
}
"""Routes that write without a row, and why."""
PASSWORD = "a canary of a password " + canary()


@dataclass
class Act:
    """A request that does something, and the rows it leaves."""

    method: str
    route: str
    actions: list[str]
    body: Any = None
    names: dict[str, str] = field(default_factory=dict)
    who: str = "owner"

    @property
    def path(self) -> str:
        """Where it goes."""
        return self.route.format(**self.names)


@pytest_asyncio.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """An API where anybody may register."""
    async with asyncio.timeout(110), open_api(database, is_registration_open=True) as api:
        yield api


def writing_routes(api: Api) -> set[tuple[str, str]]:
    """Every method of every route that is not only for reading."""
    routes = [route for route in api.app.router.routes if not isinstance(route, WebSocketRoute)]
    assert all(isinstance(route, APIRoute) for route in routes)
    return {(method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods - {"GET", "HEAD"}}


async def acts_of(api: Api) -> list[Act]:
    """One of each act, on things arranged for it. Texts that must stand in no row are canaries."""
    engine, acme = api.engine, api.caller
    dead = [str(await engine.dlq(acme, job_type="t")) for _ in range(3)]
    waiting = [str(await engine.submit(acme, data=json.dumps({"k": canary()}))) for _ in range(4)]
    worker = {"worker_id": "w-1"}
    offer = {"queues": ["*"], "job_types": ["t"], "concurrency": 1, "version": "1"}
    assert (await api.client.put("/v1/workers/w-1", json=offer)).status_code == 200
    key = (await api.client.post("/v1/api-keys", json={"name": "old"})).json()["id"]
    hooks = [(await api.client.post("/v1/webhooks", json={"url": f"https://example.com/{canary()}"})).json()["id"] for _ in range(2)]
    told = (await api.client.post(f"/v1/webhooks/{hooks[0]}/test")).json()["id"]
    one, queue, hook, named = "/v1/jobs/{job_id}", "/v1/queues/{name}", "/v1/webhooks/{webhook_id}", {"webhook_id": hooks[0]}
    return [
        Act("POST", "/v1/webhooks", ["webhook.created"], {"url": f"https://example.com/{canary()}?token={canary()}"}),
        Act("PATCH", hook, ["webhook.changed"], {"url": f"https://example.org/{canary()}", "queues": ["q"]}, named),
        Act("POST", hook + "/rotate-secret", ["webhook.secret_rotated"], names=named),
        Act("POST", hook + "/test", ["webhook.tested"], names=named),
        Act("POST", hook + "/replay", ["webhook.replayed"], {"status": ["failed"]}, named),
        Act("POST", hook + "/deliveries/{delivery_id}/replay", ["webhook.replayed"], names={**named, "delivery_id": told}),
        Act("DELETE", hook, ["webhook.deleted"], names={"webhook_id": hooks[1]}),
        Act("DELETE", one, ["job.cancelled"], names={"job_id": waiting[0]}),
        Act("POST", one + "/cancel", ["job.cancelled"], names={"job_id": waiting[1]}),
        Act("PATCH", one, ["job.updated"], {"priority": "high"}, {"job_id": waiting[2]}),
        Act("POST", one + "/retry", ["job.retried"], {"reset_attempts": True}, {"job_id": dead[0]}),
        Act(
            "POST",
            one + "/force-success",
            ["job.force_succeeded"],
            {"result": {"secret": canary()}, "reason": "done by hand"},
            {"job_id": dead[1]},
        ),
        Act("POST", "/v1/dlq/replay", ["dlq.replayed"], {"filter": {"job_type": ["t"]}}),
        Act("POST", "/v1/jobs/cancel", ["jobs.cancelled"], {"filter": {"queue": ["default"]}, "limit": 10}),
        Act("PATCH", queue, ["queue.changed"], {"max_concurrent": 3}, {"name": "default"}),
        Act("POST", queue + "/pause", ["queue.paused"], names={"name": "default"}),
        Act("POST", queue + "/resume", ["queue.resumed"], names={"name": "default"}),
        Act("POST", "/v1/api-keys", ["api_key.created"], {"name": "new", "scopes": ["jobs:read"]}),
        Act("DELETE", "/v1/api-keys/{key_id}", ["api_key.deleted"], names={"key_id": key}),
        Act("POST", "/v1/tenants", ["tenant.created"], {"id": "made", "plan": "pro", "max_concurrent": 5}, who="operator"),
        Act("PATCH", "/v1/tenants/{tenant_id}", ["tenant.changed"], {"max_concurrent": 6}, {"tenant_id": "made"}, who="operator"),
        Act("POST", "/v1/workers/{worker_id}/quiet", ["worker.quieted"], names=worker, who="operator"),
        Act("POST", "/v1/workers/{worker_id}/terminate", ["worker.terminated"], names=worker, who="operator"),
        Act(
            "POST",
            "/auth/register",
            ["tenant.created", "user.registered"],
            {"email": "ann@example.com", "password": PASSWORD, "tenant": "acorn"},
            who="anybody",
        ),
        Act("POST", "/auth/login", ["user.logged_in"], {"email": "ann@example.com", "password": PASSWORD}, who="anybody"),
    ]


async def rows(api: Api) -> list[Any]:
    return list(await api.engine.raw.fetch("SELECT * FROM jobqueue.audit ORDER BY at, action"))


async def clients_of(api: Api) -> dict[str, tuple[httpx2.AsyncClient, str, str | None]]:
    """Who asks -> the client, and the kind and id of the actor that a row shall name."""
    boss = await make_key(api.engine, api.caller, ["operator"])
    return {
        "owner": (api.client, "key", api.key.split("_")[1]),
        "operator": (api.as_other(boss), "operator", boss.split("_")[1]),
        "anybody": (httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api.app), base_url="http://api"), "user", None),
    }


async def test_every_route_that_changes_something_leaves_exactly_its_rows_or_is_a_named_exception(api: Api) -> None:
    acts = await acts_of(api)
    assert {(act.method, act.route) for act in acts} | set(NO_ROW) == writing_routes(api)
    clients = await clients_of(api)
    told: set[str] = set()
    for act in acts:
        before = len(await rows(api))
        client, kind, actor_id = clients[act.who]
        content = None if act.body is None else json.dumps(act.body)
        answer = await client.request(act.method, act.path, content=content, headers={"X-Correlation-Id": "c-7"})
        assert answer.status_code in (200, 201, 202, 204), (act, answer.text)
        found = (await rows(api))[before:]
        assert [row["action"] for row in found] == act.actions, act
        for row in found:
            assert row["actor_kind"] == kind, act
            assert actor_id in (None, row["actor_id"]), act
            assert row["actor_name"], act
            assert (row["request_id"], row["correlation_id"], row["address"]) == (answer.headers["x-request-id"], "c-7", "127.0.0.1")
            assert row["target_id"] in (None, *act.names.values(), *known_ids(answer), "made", "acorn", row["actor_id"]), act
        told |= set(act.actions)
    assert told == {action for act in acts for action in act.actions}


def known_ids(answer: httpx2.Response) -> list[str]:
    """The id an answer gives to what it made."""
    return [answer.json()["id"]] if answer.content and "id" in answer.json() else []


async def test_the_hot_path_leaves_no_row(api: Api) -> None:
    owner = Asker(api.app, api.key)
    _, calls = await furnish(api, owner)
    before = len(await rows(api))
    asked = 0
    for route, asks in calls.items():
        if route in NO_ROW:
            for ask in asks:
                assert (await owner.send(ask)).status in (200, 201), ask
                asked += 1
    assert asked >= 10
    assert (await api.client.post("/auth/token", json={"api_key": api.key})).status_code == 200
    assert (await api.client.post("/v1/stream/tickets")).status_code == 201
    assert len(await rows(api)) == before


async def test_no_secret_and_no_payload_stands_in_any_row(api: Api) -> None:
    clients = await clients_of(api)
    secrets = {PASSWORD, api.key, api.key[12:], "typed-password-in-the-wrong-field"}
    for act in await acts_of(api):
        if act.body is not None:
            secrets |= {word for word in json.dumps(act.body).replace('"', " ").split() if word.startswith("canary")}
        content = None if act.body is None else json.dumps(act.body)
        answer = await clients[act.who][0].request(act.method, act.path, content=content)
        assert answer.status_code < 300, answer.text
        made = answer.json() if answer.content else {}
        secrets |= {made[name] for name in ("api_key", "access_token", "secret") if name in made}
    wrong = [("ann@example.com", "canaryw-wrong"), ("typed-password-in-the-wrong-field", "x"), ("nobody@example.com", "canaryw-none")]
    for email, password in wrong:
        assert (await clients["anybody"][0].post("/auth/login", json={"email": email, "password": password})).status_code == 401
        secrets.add(password if len(password) > 1 else email)
    data = await api.engine.raw.fetch("SELECT data::text FROM jobqueue.job UNION ALL SELECT result::text FROM jobqueue.outcome")
    secrets |= {row[0] for row in data if row[0] not in (None, "{}")}
    hashes = await api.engine.raw.fetch("SELECT secret_sha256 FROM jobqueue.api_key UNION ALL SELECT password_hash FROM jobqueue.app_user")
    secrets |= {row[0] for row in hashes}
    text = "\n".join(row[0] for row in await api.engine.raw.fetch("SELECT a::text FROM jobqueue.audit a"))
    assert len(secrets) > 15
    assert [secret for secret in secrets if secret in text] == []
    assert "done by hand" in text
    assert "canary" not in text


async def test_refusals_leave_no_row_but_failed_logins_do(api: Api) -> None:
    done = str(await api.engine.succeeded(api.caller))
    reader = api.as_other(await make_key(api.engine, api.caller, ["jobs:read"]))
    stranger = api.as_other(await make_key(api.engine, await api.engine.tenant("stranger")))
    await api.client.post("/auth/register", json={"email": "ann@example.com", "password": PASSWORD, "tenant": "acorn"})
    before = len(await rows(api))
    refused = [
        (reader, "POST", f"/v1/jobs/{done}/cancel", None, 403),
        (reader, "POST", "/v1/queues/default/pause", None, 403),
        (api.client, "POST", f"/v1/jobs/{done}/cancel", None, 409),
        (api.client, "PATCH", f"/v1/jobs/{done}", {"priority": "high"}, 409),
        (api.client, "POST", f"/v1/jobs/{done}/force-success", None, 409),
        (stranger, "POST", f"/v1/jobs/{done}/retry", None, 404),
        (stranger, "DELETE", f"/v1/jobs/{done}", None, 404),
        (api.client, "DELETE", "/v1/api-keys/00000000", None, 404),
        (api.client, "POST", "/v1/api-keys", {"name": "x", "scopes": ["operator"]}, 403),
        (api.client, "POST", "/v1/api-keys", {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, 422),
        (api.client, "PATCH", "/v1/tenants/acme", {"max_concurrent": 6}, 403),
        (api.client, "POST", "/auth/register", {"email": "ann@example.com", "password": PASSWORD, "tenant": "acorn"}, 409),
        (api.client, "POST", "/v1/jobs/cancel", {"filter": {"queue": ["default"]}, "limit": 10, "dry_run": True}, 200),
    ]
    for client, method, path, body, status in refused:
        answer = await client.request(method, path, content=None if body is None else json.dumps(body))
        assert answer.status_code == status, (method, path, answer.text)
    assert len(await rows(api)) == before
    for email, password in (("ann@example.com", "wrong"), ("nobody@example.com", "wrong")):
        assert (await api.client.post("/auth/login", json={"email": email, "password": password})).status_code == 401
    known, unknown = (await rows(api))[before:]
    assert {(row["action"], row["actor_kind"], row["actor_id"]) for row in (known, unknown)} == {("user.login_failed", "unknown", None)}
    acorn, user = await api.engine.raw.fetchrow("SELECT tenant_id, user_id FROM jobqueue.app_user")
    assert (known["tenant_id"], known["target_id"], known["data"]) == (acorn, str(user), '{"why":"wrong password"}')
    assert (unknown["tenant_id"], unknown["target_id"], unknown["data"]) == (0, None, '{"why":"no such account"}')


async def test_operators_commands_on_the_database_leave_rows(api: Api) -> None:
    settings = Settings(database_url=api.engine.dsn)
    await api.client.post("/auth/register", json={"email": "ann@example.com", "password": PASSWORD, "tenant": "acorn"})
    before = len(await rows(api))
    await operator.create_tenant(settings, "made", plan="pro")
    key = await operator.create_key(settings, tenant="made", name="ci", scopes=["work"])
    await operator.set_user_disabled(settings, "ann@example.com", is_disabled=True)
    await operator.set_user_disabled(settings, "ann@example.com", is_disabled=False)
    found = (await rows(api))[before:]
    assert [row["action"] for row in found] == ["tenant.created", "api_key.created", "user.disabled", "user.enabled"]
    author = operator.author()
    assert {(row["actor_kind"], row["actor_id"], row["address"]) for row in found} == {("cli", author.id, author.address)}
    assert found[1]["target_id"] == key.split("_")[1]


# ----------------------------------------------------------------------------------------------------- reading


def read_page(answer: httpx2.Response) -> AuditPage:
    assert answer.status_code == 200, answer.text
    page = AuditPage.model_validate_json(answer.content)
    for item in answer.json()["items"]:
        assert set(item) == set(AuditEntry.model_fields)
    return page


async def test_a_tenant_reads_its_own_rows_and_an_operator_all(api: Api) -> None:
    boss = await make_key(api.engine, await api.engine.tenant("operators"), ["operator"])
    stranger = api.as_other(await make_key(api.engine, await api.engine.tenant("stranger")))
    await api.client.post("/v1/queues/mail/pause")
    async with api.as_other(boss) as operators:
        await operators.patch("/v1/tenants/acme", json={"max_concurrent": 9})
        seen = read_page(await operators.get("/v1/audit?page_size=200"))
        assert {entry.tenant_id for entry in seen.items} == {"acme", "operators", "stranger"}
        of_acme = read_page(await operators.get("/v1/audit?tenant=acme&action=tenant.changed"))
        assert [(entry.actor.id, entry.data) for entry in of_acme.items] == [
            (boss.split("_")[1], {"max_concurrent": {"old": None, "new": 9}})
        ]
        assert (await operators.get("/v1/audit?tenant=nobody")).status_code == 404
    own = read_page(await api.client.get("/v1/audit?page_size=200")).items
    assert {entry.tenant_id for entry in own} == {"acme"}
    changed, paused = own[:2]
    assert (changed.action, changed.actor.kind, changed.actor.id, changed.actor.name, changed.address) == (
        ("tenant.changed", "operator", None, None, None)
    )
    assert (paused.action, paused.actor.id, paused.target.id) == ("queue.paused", api.key.split("_")[1], "mail")
    assert (paused.data, paused.address) == ({"is_paused": {"old": False, "new": True}}, "127.0.0.1")
    assert read_page(await api.client.get(f"/v1/audit?actor={boss.split('_')[1]}")).items == []
    assert "acme" not in (await stranger.get("/v1/audit?page_size=200")).text
    assert (await stranger.get("/v1/audit?tenant=acme")).json() | {"request_id": ""} == (
        (await stranger.get("/v1/audit?tenant=nobody")).json() | {"request_id": ""}
    )


async def test_reading_needs_tenant_admin_or_operator(api: Api) -> None:
    for scope in TENANT_SCOPES:
        async with api.as_other(await make_key(api.engine, api.caller, [scope])) as client:
            assert (await client.get("/v1/audit")).status_code == (200 if scope == "tenant:admin" else 403), scope


async def test_filters_choose_rows_and_cursors_walk_them_all_once(api: Api) -> None:
    for number in range(7):
        await api.client.post(f"/v1/queues/q-{number % 2}/{'pause' if number % 3 else 'resume'}")
    everything = read_page(await api.client.get("/v1/audit?page_size=200")).items
    queues = [entry for entry in everything if entry.target.kind == "queue"]
    assert len(queues) == 7

    async def walk(query: str) -> list[str]:
        found: list[str] = []
        path: str | None = f"/v1/audit?page_size=2&{query}"
        while path is not None:
            answer = await api.client.get(path)
            page = read_page(answer)
            assert page.has_more == (page.next_cursor is not None)
            found += [entry.id for entry in page.items]
            path = None if page.next_cursor is None else f"/v1/audit?page_size=2&{query}&cursor={page.next_cursor}"
        return found

    def ids(entries: list[AuditEntry]) -> list[str]:
        return [entry.id for entry in entries]

    key = api.key.split("_")[1]
    assert await walk("") == ids(everything)
    assert await walk("action=queue.paused") == ids([entry for entry in everything if entry.action == "queue.paused"])
    assert await walk("target=q-1") == ids([entry for entry in queues if entry.target.id == "q-1"])
    assert await walk(f"actor={key}") == ids([entry for entry in everything if entry.actor.id == key])
    assert await walk(f"actor={key}&action=queue.paused&target=q-1") == ids(
        [entry for entry in queues if entry.target.id == "q-1" and entry.action == "queue.paused"]
    )
    middle = queues[3].at.isoformat().replace("+00:00", "Z")
    later, earlier = await walk(f"since={middle}"), await walk(f"until={middle}")
    assert later + earlier == ids(everything)
    assert later
    assert earlier
    answer = await api.client.get("/v1/audit?page_size=1&action=queue.paused")
    cursor = answer.json()["next_cursor"]
    assert f"cursor={cursor}" in answer.headers["link"]
    assert (await api.client.get(f"/v1/audit?cursor={cursor}")).status_code == 400


async def test_a_wrong_query_and_a_forged_cursor_are_refused(api: Api) -> None:
    for query in ("action=job.eaten", "actor=", "since=yesterday", "page_size=0", "who=me", "actor=%00"):
        assert (await api.client.get(f"/v1/audit?{query}")).status_code == 422, query
    for cursor in ("nonsense", "", "AAAA"):
        assert (await api.client.get(f"/v1/audit?cursor={cursor}")).status_code == 400, cursor
