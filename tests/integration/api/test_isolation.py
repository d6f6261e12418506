"""Nothing of a tenant's is told to another, and nothing of it is changed by another, on any route there is."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest_asyncio
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from jobqueue.api.authorize import Requirement
from jobqueue.domain.access import Scope
from tests.integration.api.conftest import Api, make_key, open_api
from tests.integration.api.replay import Answer, Ask, Asker, leaks, rows_of, secrets_in

OTHERS_ID = "018f0000-0000-7000-8000-000000000000"


def canary() -> str:
    return "canary" + secrets.token_hex(3)


@dataclass
class Two:
    """A tenant that has one of everything, and a stranger with a key, and with a token of that key."""

    api: Api
    owner: Asker
    strangers: list[Asker]
    tenant: str
    asks: list[Ask]
    secrets: set[str]

    @property
    def reads(self) -> list[Ask]:
        """What only looks, which goes first: what strangers write themselves they may see."""
        return [ask for ask in self.asks if ask.method == "GET"]

    @property
    def writes(self) -> list[Ask]:
        """The others."""
        return [ask for ask in self.asks if ask.method != "GET"]


def routes_of(api: Api) -> list[tuple[str, APIRoute, frozenset[str]]]:
    """Every method of every route that asks for a credential, with the scopes it wants."""
    found = []
    for route in api.app.router.routes:
        if isinstance(route, WebSocketRoute):
            continue  # the live feed has tests of its own
        assert isinstance(route, APIRoute)
        for guard in (one.call for one in route.dependant.dependencies if isinstance(one.call, Requirement)):
            found += [(method, route, frozenset(guard.scopes)) for method in sorted(route.methods)]
    return found


def job(**fields: Any) -> dict[str, Any]:
    """A job with a canary wherever it takes a text."""
    payload = {"job_type": fields.pop("job_type", canary()), "data": {canary(): canary()}}
    texts = {"queue": canary(), "concurrency_key": canary(), "tags": [canary()], "metadata": {canary(): canary()}}
    return {"payload": payload, **texts, **fields}


async def good(owner: Asker, ask: Ask) -> Any:
    answer = await owner.send(ask)
    assert answer.status in (200, 201, 202, 204), (ask, answer)
    return answer.body


async def submit(owner: Asker, **fields: Any) -> dict[str, Any]:
    headers = {
        "Idempotency-Key": canary(),
        "X-Correlation-Id": canary(),
        "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }
    return dict(await good(owner, Ask("POST", "/v1/jobs", job(**fields), headers=headers)))


async def furnish(api: Api, owner: Asker) -> tuple[dict[str, list[str]], dict[tuple[str, str], list[Ask]]]:
    """Give a tenant one of everything; answers what fills the templates of paths, and the bodies of calls that need one."""
    worker, kind = canary(), canary()
    await good(owner, Ask("PUT", f"/v1/workers/{worker}", {"queues": ["*"], "job_types": [kind], "concurrency": 9, "version": canary()}))
    ended = [await submit(owner, job_type=kind) for _ in range(5)]
    leases = await claim(owner, worker, kind)
    errors = [{"type": canary(), "message": canary(), "traceback": canary()} for _ in ended]
    outcomes: list[dict[str, Any]] = [
        {**token_of(lease), "outcome": "failed", "error": error, "retry": "never"} for lease, error in zip(leases[:4], errors, strict=False)
    ]
    outcomes.append({**token_of(leases[4]), "outcome": "succeeded", "result": {canary(): canary()}, "result_ref": canary()})
    await good(owner, Ask("POST", "/v1/leases/settle", {"outcomes": outcomes}))
    running = [await submit(owner, job_type=kind) for _ in range(7)]
    held = [token_of(lease) for lease in await claim(owner, worker, kind)]
    beats = [{**token, "progress": 5, "message": canary(), "started_seconds_ago": 1} for token in held]
    await good(owner, Ask("POST", f"/v1/workers/{worker}/heartbeat", {"state": "running", "leases": beats}))
    waiting = [await submit(owner) for _ in range(6)]
    await good(owner, Ask("PATCH", f"/v1/queues/{waiting[0]['queue']}", {"max_concurrent": 3}))
    key = await good(owner, Ask("POST", "/v1/api-keys", {"name": canary()}))
    hook = await good(owner, Ask("POST", "/v1/webhooks", {"url": f"https://example.com/{canary()}", "description": canary()}))
    doomed = await good(owner, Ask("POST", "/v1/webhooks", {"url": f"https://example.com/{canary()}"}))
    told = [await good(owner, Ask("POST", f"/v1/webhooks/{hook['id']}/test")) for _ in range(2)]
    ids = {
        "webhook_id": [hook["id"]],
        "delivery_id": [told[0]["id"]],
        "job_id": [one["id"] for one in (waiting[0], running[0], ended[4], ended[0])],
        "name": [waiting[0]["queue"]],
        "worker_id": [worker],
        "key_id": [key["id"]],
        "tenant_id": ["acme"],
    }

    def settled(verb: str, number: int, **fields: Any) -> list[Ask]:
        body = {"lease_token": held[number]["lease_token"], **fields}
        return [Ask("POST", f"/v1/jobs/{held[number]['job_id']}/{verb}", body)]

    offer = {"worker_id": worker, "queues": ["*"], "job_types": [kind], "max_jobs": 5}
    settle = [{**held[5], "outcome": "succeeded", "result": canary()}]
    batch = {"jobs": [{"idempotency_key": canary(), **job()}]}
    calls = {
        ("POST", "/v1/jobs"): [Ask("POST", "/v1/jobs", job(), headers={"Idempotency-Key": waiting[0]["idempotency_key"] + "2"})],
        ("POST", "/v1/jobs/batch"): [Ask("POST", "/v1/jobs/batch", batch)],
        ("POST", "/v1/jobs/import"): [
            Ask("POST", "/v1/jobs/import", b"a\n" + canary().encode(), f"job_type={kind}", {"Content-Type": "text/csv"})
        ],
        ("DELETE", "/v1/jobs/{job_id}"): [Ask("DELETE", f"/v1/jobs/{waiting[1]['id']}")],
        ("POST", "/v1/jobs/{job_id}/cancel"): [Ask("POST", f"/v1/jobs/{one['id']}/cancel") for one in (waiting[2], running[6])],
        ("POST", "/v1/jobs/{job_id}/retry"): [Ask("POST", f"/v1/jobs/{ended[0]['id']}/retry", {"reset_attempts": True})],
        ("POST", "/v1/jobs/{job_id}/force-success"): [Ask("POST", f"/v1/jobs/{ended[1]['id']}/force-success", {"reason": canary()})],
        ("PATCH", "/v1/jobs/{job_id}"): [Ask("PATCH", f"/v1/jobs/{waiting[3]['id']}", {"priority": "high"})],
        ("POST", "/v1/jobs/{job_id}/progress"): settled("progress", 0, progress=50, message=canary()),
        ("POST", "/v1/jobs/{job_id}/complete"): settled("complete", 1, result=canary()),
        ("POST", "/v1/jobs/{job_id}/fail"): settled("fail", 2, error=errors[0]),
        ("POST", "/v1/jobs/{job_id}/release"): settled("release", 3),
        ("POST", "/v1/leases"): [Ask("POST", "/v1/leases", {**offer, "claim_id": str(uuid4())})],
        ("POST", "/v1/leases/settle"): [Ask("POST", "/v1/leases/settle", {"outcomes": settle})],
        ("PUT", "/v1/workers/{worker_id}"): [
            Ask("PUT", f"/v1/workers/{worker}", {"queues": ["*"], "job_types": [kind], "concurrency": 1, "version": "2"})
        ],
        ("POST", "/v1/workers/{worker_id}/heartbeat"): [
            Ask("POST", f"/v1/workers/{worker}/heartbeat", {"state": "running", "leases": beats[:1]})
        ],
        ("POST", "/v1/jobs/cancel"): [Ask("POST", "/v1/jobs/cancel", {"filter": {"queue": [waiting[4]["queue"]]}, "limit": 5})],
        ("POST", "/v1/dlq/replay"): [Ask("POST", "/v1/dlq/replay", {"filter": {"job_type": [kind]}, "limit": 5})],
        ("PATCH", "/v1/queues/{name}"): [Ask("PATCH", f"/v1/queues/{waiting[0]['queue']}", {"max_concurrent": 4})],
        ("POST", "/v1/api-keys"): [Ask("POST", "/v1/api-keys", {"name": canary()})],
        ("POST", "/v1/webhooks"): [Ask("POST", "/v1/webhooks", {"url": f"https://example.com/{canary()}"})],
        ("PATCH", "/v1/webhooks/{webhook_id}"): [Ask("PATCH", f"/v1/webhooks/{hook['id']}", {"queues": [canary()]})],
        ("DELETE", "/v1/webhooks/{webhook_id}"): [Ask("DELETE", f"/v1/webhooks/{doomed['id']}")],
    }
    filters = [f"{name}={waiting[0][name]}" for name in ("queue", "job_type", "correlation_id")] + [f"tag={waiting[0]['tags'][0]}"]
    cursor = (await good(owner, Ask("GET", "/v1/jobs", query="page_size=1")))["next_cursor"]
    queries = [*filters, f"page_size=1&cursor={cursor}", "status=dlq", "page=1"]
    calls[("GET", "/v1/jobs")] = [Ask("GET", "/v1/jobs", query=query) for query in ("", *queries)]
    calls[("GET", "/v1/stats")] = [Ask("GET", "/v1/stats", query=query) for query in ("", f"queues={waiting[0]['queue']}")]
    return ids, calls


async def claim(owner: Asker, worker: str, kind: str) -> list[dict[str, Any]]:
    body = {"worker_id": worker, "claim_id": str(uuid4()), "queues": ["*"], "job_types": [kind], "max_jobs": 20, "lease_seconds": 600}
    return list((await good(owner, Ask("POST", "/v1/leases", body)))["leases"])


def token_of(lease: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": lease["job"]["id"], "lease_token": lease["lease_token"]}


def asks_of(api: Api, ids: dict[str, list[str]], calls: dict[tuple[str, str], list[Ask]]) -> list[Ask]:
    """At least one request of every route; one nobody wrote a body for gets none, and an id of an unknown kind is a job's."""
    asks: list[Ask] = []
    for method, route, _ in routes_of(api):
        if (method, route.path) in calls:
            asks += calls[method, route.path]
            continue
        names = route.param_convertors.keys()
        for place in range(max([len(ids.get(name, ids["job_id"])) for name in names], default=1)):
            values = {name: ids.get(name, ids["job_id"]) for name in names}
            path = route.path.format(**{name: known[min(place, len(known) - 1)] for name, known in values.items()})
            asks.append(Ask(method, path, None if method in ("GET", "DELETE") else {}))
    return asks


@pytest_asyncio.fixture
async def two(database: str) -> AsyncIterator[Two]:
    async with asyncio.timeout(110), open_api(database) as api:
        owner = Asker(api.app, api.key)
        ids, calls = await furnish(api, owner)
        key = await make_key(api.engine, await api.engine.tenant("stranger"))
        token = (await api.client.post("/auth/token", json={"api_key": key})).json()["access_token"]
        known = "".join(str(rows) for rows in (await rows_of(api.engine.raw, api.caller.tenant_id)).values())
        hidden = secrets_in(known + owner.sent) | set(ids["key_id"])
        yield Two(api, owner, [Asker(api.app, key), Asker(api.app, token)], "acme", asks_of(api, ids, calls), hidden)


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.told()


async def test_nothing_of_a_tenant_is_told_to_another_nor_changed_by_it_on_any_route(two: Two) -> None:
    assert len(two.secrets) > 200
    before = await rows_of(two.api.engine.raw, two.api.caller.tenant_id)
    filled = ("job", "event", "lease", "outcome", "api_key", "worker", "tenant_queue", "ended", "ready", "webhook", "webhook_delivery")
    assert all(before[table] for table in filled)
    for ask in (*two.reads, *two.writes):
        for stranger in two.strangers:
            answer = await stranger.send(ask)
            assert answer.status < 500, (ask, answer)
            assert leaks(answer, two.secrets, stranger) == set(), (ask, answer)
            if two.tenant not in ask.text:
                assert two.tenant not in answer.text, (ask, answer)
    after = await rows_of(two.api.engine.raw, two.api.caller.tenant_id)
    for table, rows in before.items():
        assert after[table] == rows, table


async def test_each_of_these_requests_is_a_good_one_of_its_owner_s(two: Two) -> None:
    """Else the test above would show nothing."""
    operators = {(method, route.path) for method, route, scopes in routes_of(two.api) if scopes == {Scope.OPERATOR}}
    told: set[str] = set()
    failed: list[tuple[Ask, int]] = []
    for ask in (*two.reads, *two.writes):
        answer = await two.owner.send(ask)
        told |= {secret for secret in two.secrets if secret in answer.text}
        if answer.status >= 300:
            failed.append((ask, answer.status))
    refused = [(ask.method, status) for ask, status in failed if status != 403]
    assert len(failed) - len(refused) == len(operators)
    # a job that has not ended has no result, and what was retried before it is deleted is not retried again
    assert len(refused) <= len(two.asks) // 6, failed
    assert len(told) > 100, "they show what the other one must not see"


async def test_another_s_id_is_answered_as_one_that_does_not_exist(two: Two) -> None:
    job_id = two.reads and next(ask.path.split("/")[3] for ask in two.reads if ask.path.startswith("/v1/jobs/0"))
    stranger = two.strangers[0]
    compared = 0
    for ask in (*two.reads, *two.writes):
        if job_id not in ask.path:
            continue
        unknown = replace(ask, path=ask.path.replace(job_id, OTHERS_ID))
        assert refusal(await stranger.send(ask)) == refusal(await stranger.send(unknown)), ask
        compared += 1
    assert compared >= 3


async def test_another_s_id_takes_as_long_as_one_that_does_not_exist(two: Two) -> None:
    """Medians of requests that take turns; the bound is far from any difference that is there, and near to that of one more query."""
    job_id = next(ask.path.split("/")[3] for ask in two.reads if ask.path.startswith("/v1/jobs/0"))
    stranger = two.strangers[0]
    for path in ("/v1/jobs/{}", "/v1/jobs/{}/events", "/v1/jobs/{}/result"):
        taken_s: dict[str, list[float]] = {job_id: [], OTHERS_ID: []}
        for number in range(120):
            for one in (job_id, OTHERS_ID) if number % 2 else (OTHERS_ID, job_id):
                begun_s = time.perf_counter()
                assert (await stranger.send(Ask("GET", path.format(one)))).status == 404
                taken_s[one].append(time.perf_counter() - begun_s)
        ratio = statistics.median(taken_s[job_id]) / statistics.median(taken_s[OTHERS_ID])
        assert 0.7 < ratio < 1.4, (path, ratio)
