from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from jobqueue.api.services import TenantDefaults
from jobqueue.domain.access import Scope
from jobqueue.domain.errors import QueueFull
from jobqueue.protocol.tenants import Tenant, TenantsPage
from tests.engine import request
from tests.integration.api.conftest import Api, make_key, open_api

DEFAULTS = TenantDefaults(max_concurrent=10, max_queued=1_000_000, rate_per_minute=100)


@pytest_asyncio.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """An API with limits from its settings."""
    async with open_api(database, tenant=DEFAULTS, rate_per_minute=DEFAULTS.rate_per_minute) as api:
        yield api


@pytest_asyncio.fixture
async def operator(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that crosses tenants."""
    async with api.as_other(await make_key(api.engine, api.caller, [Scope.OPERATOR])) as client:
        yield client


def shown(answer: httpx2.Response) -> Tenant:
    assert answer.status_code in (200, 201), answer.text
    assert set(answer.json()) == set(Tenant.model_fields)
    return Tenant.model_validate_json(answer.content)


async def test_a_tenant_sees_its_limits_and_what_it_has_now(api: Api) -> None:
    await api.engine.submit_all(api.caller, [request()] * 5 + [request(delay_s=60.0)])
    await api.engine.claim(jobs_max=2)
    own = shown(await api.client.get("/v1/tenants/acme"))
    assert (own.id, own.plan, own.weight) == ("acme", "pro", 1)
    assert (own.max_concurrent, own.max_queued, own.rate_per_minute) == (10, 1_000_000, 100)
    assert (own.usage.running, own.usage.queued, own.usage.requests_left) == (2, 4, 199)


@pytest.mark.parametrize(("plan", "weight"), [("free", 1), ("pro", 5), ("business", 7), ("enterprise", 10)])
async def test_a_plan_gives_its_weight(operator: httpx2.AsyncClient, plan: str, weight: int) -> None:
    made = await operator.post("/v1/tenants", json={"id": "new", "plan": plan})
    assert made.headers["location"] == "/v1/tenants/new"
    assert (shown(made).plan, shown(made).weight) == (plan, weight)
    assert shown(await operator.get("/v1/tenants/new")) == shown(made)


async def test_a_limit_is_the_tenant_s_own_else_the_plan_s_else_the_settings(api: Api, operator: httpx2.AsyncClient) -> None:
    await api.engine.raw.execute("UPDATE jobqueue.plan SET max_concurrent = 50, rate_per_minute = 0 WHERE name = 'business'")
    made = shown(await operator.post("/v1/tenants", json={"id": "new", "plan": "business", "max_queued": 7}))
    assert (made.max_concurrent, made.max_queued, made.rate_per_minute) == (50, 7, 0)
    assert made.usage.requests_left is None, "no rate: nothing to run out of"
    changed = shown(await operator.patch("/v1/tenants/new", json={"max_concurrent": 3, "max_queued": None, "rate_per_minute": 60}))
    assert (changed.max_concurrent, changed.max_queued, changed.rate_per_minute) == (3, 1_000_000, 60)
    assert changed.usage.requests_left == 120
    back = shown(await operator.patch("/v1/tenants/new", json={"max_concurrent": None}))
    assert (back.max_concurrent, back.rate_per_minute) == (50, 60)


async def test_another_plan_brings_its_weight_unless_one_is_named(operator: httpx2.AsyncClient) -> None:
    await operator.post("/v1/tenants", json={"id": "new"})

    async def change(**fields: Any) -> tuple[str, int]:
        tenant = shown(await operator.patch("/v1/tenants/new", json=fields))
        return tenant.plan, tenant.weight

    assert await change(plan="business") == ("business", 7)
    assert await change(weight=42) == ("business", 42)
    assert await change(max_queued=5) == ("business", 42)
    assert await change(plan="pro", weight=9) == ("pro", 9)
    assert await change(weight=None) == ("pro", 5)
    assert await change(plan="free") == ("free", 1)


async def test_a_lowered_limit_holds_for_the_next_claim_and_stops_no_job(api: Api, operator: httpx2.AsyncClient) -> None:
    await api.engine.submit_all(api.caller, [request()] * 10)
    assert len(await api.engine.claim(jobs_max=4)) == 4
    assert shown(await operator.patch("/v1/tenants/acme", json={"max_concurrent": 3})).usage.running == 4
    assert await api.engine.claim(jobs_max=4) == []
    await operator.patch("/v1/tenants/acme", json={"max_concurrent": 6})
    assert len(await api.engine.claim(jobs_max=4)) == 2


async def test_max_queued_set_over_http_refuses_submits(api: Api, operator: httpx2.AsyncClient) -> None:
    await operator.post("/v1/tenants", json={"id": "small", "max_queued": 1})
    tenant_id = await api.engine.raw.fetchval("SELECT tenant_id FROM jobqueue.tenant WHERE name = 'small'")
    async with api.engine.submitter() as submitter:
        await submitter.submit(tenant_id, request())
        with pytest.raises(QueueFull):
            await submitter.submit(tenant_id, request())


async def test_another_tenant_is_not_found_as_one_that_does_not_exist(api: Api) -> None:
    await api.engine.tenant("other")
    answers = [await api.client.get(f"/v1/tenants/{name}") for name in ("other", "nobody", "No%20Name", "%00")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text.replace(answer.headers["x-request-id"], "") for answer in answers}) == 1


async def test_an_operator_finds_every_tenant_but_none_that_is_not(api: Api, operator: httpx2.AsyncClient) -> None:
    await api.engine.tenant("other")
    assert shown(await operator.get("/v1/tenants/other")).id == "other"
    for answer in (
        await operator.get("/v1/tenants/nobody"),
        await operator.get("/v1/tenants/%00"),
        await operator.patch("/v1/tenants/nobody", json={"plan": "pro"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_only_an_operator_makes_lists_and_changes_tenants(api: Api) -> None:
    answers = [
        await api.client.get("/v1/tenants"),
        await api.client.post("/v1/tenants", json={"id": "new"}),
        await api.client.patch("/v1/tenants/acme", json={"max_concurrent": 0}),
        await api.client.patch("/v1/tenants/nobody", json={"max_concurrent": 0}),
    ]
    assert {(answer.status_code, answer.json()["scope"]) for answer in answers} == {(403, "operator")}
    async with api.as_other(await make_key(api.engine, api.caller, [Scope.JOBS_READ])) as client:
        assert (await client.get("/v1/tenants/acme")).status_code == 403


async def test_tenants_are_listed_by_name_page_by_page(api: Api, operator: httpx2.AsyncClient) -> None:
    for name in ("zeta", "beta", "alpha"):
        await operator.post("/v1/tenants", json={"id": name})
    names, cursor = [], None
    while True:
        answer = await operator.get("/v1/tenants", params={"page_size": 3, **({"cursor": cursor} if cursor else {})})
        page = TenantsPage.model_validate_json(answer.content)
        names += [tenant.id for tenant in page.items]
        cursor = page.next_cursor
        if not page.has_more:
            break
    assert names == ["acme", "alpha", "beta", "zeta"]
    assert (await operator.get("/v1/tenants", params={"cursor": "x"})).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/tenants", {"id": "acme"}, 409),
        ("POST", "/v1/tenants", {"id": "No Name"}, 422),
        ("POST", "/v1/tenants", {"id": "new", "plan": "gold"}, 422),
        ("POST", "/v1/tenants", {"id": "new", "max_queued": -1}, 422),
        ("POST", "/v1/tenants", {}, 422),
        ("PATCH", "/v1/tenants/acme", {}, 422),
        ("PATCH", "/v1/tenants/acme", {"plan": "gold"}, 422),
        ("PATCH", "/v1/tenants/acme", {"weight": 0}, 422),
        ("PATCH", "/v1/tenants/acme", {"max_concurrent": 1.5}, 422),
        ("PATCH", "/v1/tenants/acme", {"id": "other"}, 422),
    ],
)
async def test_a_tenant_that_will_not_do_is_refused(
    operator: httpx2.AsyncClient, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await operator.request(method, path, json=body)).status_code == status
