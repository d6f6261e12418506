from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from jobqueue.api.authorize import Requirement, open_to_all
from jobqueue.domain.access import Scope
from tests.unit.api.application import API_KEY, OneKey, client_of, make_app

OPEN = {
    "/",
    "/docs",
    "/docs/assets/{name}",
    "/docs/problems/{code}",
    "/openapi.json",
    "/asyncapi.json",
    "/auth/token",
    "/auth/login",
    "/auth/register",
    "/healthz/live",
    "/healthz/ready",
}
WORKERS = "/v1/workers"
STREAMS = {"/v1/events"}
READING = {"/v1/stream/tickets"}
"""They make something that only lets its maker read."""


def routes() -> list[APIRoute]:
    found = [route for route in make_app().router.routes if not isinstance(route, WebSocketRoute)]  # tests/integration/api/test_live.py
    assert all(isinstance(route, APIRoute) for route in found), "a route that is no APIRoute passes no guard"
    return [route for route in found if isinstance(route, APIRoute)]


def guards_of(route: APIRoute) -> list[Any]:
    calls = [dependency.call for dependency in route.dependant.dependencies]
    return [call for call in calls if isinstance(call, Requirement) or call is open_to_all.dependency]


def test_every_route_passes_exactly_one_guard() -> None:
    assert [route.path for route in routes() if len(guards_of(route)) != 1] == []


def test_only_the_named_routes_need_no_credential() -> None:
    assert {route.path for route in routes() if guards_of(route) == [open_to_all.dependency]} == OPEN


def test_every_guarded_route_counts_but_those_of_workers_and_streams() -> None:
    for route in routes():
        if route.path not in OPEN:
            guard = guards_of(route)[0]
            assert guard.is_counted == (
                Scope.WORK not in guard.scopes and route.path not in STREAMS and not route.path.startswith(WORKERS)
            ), route.path


def test_what_changes_something_needs_a_scope_that_says_so() -> None:
    for route in routes():
        if route.methods == {"GET"} or route.path in OPEN or route.path in READING:
            continue
        assert guards_of(route)[0].scopes <= {Scope.JOBS_WRITE, Scope.WORK, Scope.TENANT_ADMIN, Scope.OPERATOR}, route.path
        assert guards_of(route)[0].scopes


@pytest.mark.parametrize("credential", [None, "", "jq_other", "nonsense", "a.b.c", "jq_kéy"])
async def test_every_guarded_route_refuses_a_wrong_credential_in_the_same_words(credential: str | None) -> None:
    bodies = set()
    async with client_of(make_app(), credential=None) as client:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}".encode()}
        for route in routes():
            if route.path in OPEN:
                continue
            for method in route.methods:
                answer = await client.request(method, route.path.replace("{job_id}", "x"), headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                bodies.add(answer.text.replace(answer.headers["x-request-id"], ""))
    assert len(bodies) == 1


@pytest.mark.parametrize("header", ["jq_key", "Basic jq_key", "Bearer", "Bearer ", "Bearerjq_key"])
async def test_another_scheme_is_refused(header: str) -> None:
    async with client_of(make_app(), credential=None) as client:
        assert (await client.get("/auth/me", headers={"Authorization": header})).status_code == 401


async def test_a_credential_without_the_scope_is_refused_with_its_name() -> None:
    async with client_of(make_app(keys=OneKey([Scope.WORK]))) as client:
        answer = await client.get("/v1/jobs/stats")
    assert (answer.status_code, answer.json()["code"], answer.json()["scope"]) == (403, "scope_missing", "jobs:read")


async def test_a_token_has_no_more_scopes_than_it_was_made_with_and_no_more_than_its_key_has_now() -> None:
    keys = OneKey([Scope.WORK, Scope.JOBS_READ])
    app = make_app(keys=keys)
    async with client_of(app) as client:
        token = (await client.post("/auth/token", json={"api_key": API_KEY})).json()["access_token"]
    keys.principal = OneKey([Scope.WORK, Scope.OPERATOR]).principal
    async with client_of(app, credential=token) as client:
        assert (await client.get("/auth/me")).json()["scopes"] == ["work"]


async def test_a_token_dies_with_its_key() -> None:
    keys = OneKey()
    app = make_app(keys=keys)
    async with client_of(app) as client:
        token = (await client.post("/auth/token", json={"api_key": API_KEY, "tenant_id": "demo"})).json()["access_token"]
    async with client_of(app, credential=token) as client:
        assert (await client.get("/auth/me")).status_code == 200
        keys.lives = False
        assert (await client.get("/auth/me")).status_code == 401


@pytest.mark.parametrize("body", [{"api_key": "jq_other"}, {"api_key": API_KEY, "tenant_id": "other"}, {"api_key": "jq_kéy"}])
async def test_a_wrong_exchange_is_refused_as_any_wrong_credential(body: dict[str, str]) -> None:
    async with client_of(make_app(), credential=None) as client:
        exchange = (await client.post("/auth/token", json=body)).json()
        other = (await client.get("/auth/me")).json()
    assert {**exchange, "request_id": ""} == {**other, "request_id": ""}


@pytest.mark.parametrize("body", [{}, {"api_key": ""}, {"api_key": 1}, {"api_key": API_KEY, "scope": "work"}, {"api_key": "x" * 5000}])
async def test_a_malformed_exchange_is_refused_by_field_and_without_the_key(body: dict[str, object]) -> None:
    async with client_of(make_app(), credential=None) as client:
        answer = await client.post("/auth/token", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields")
    assert API_KEY not in answer.text


async def test_an_undeclared_query_parameter_is_refused_with_its_name() -> None:
    async with client_of(make_app()) as client:
        for path in ("/auth/me", "/healthz/live", "/healthz/ready", "/docs", "/openapi.json"):
            answer = await client.get(path, params={"verbos": "1"})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/verbos"), path
        assert (await client.get("/healthz/ready?verbose")).json()["checks"] == {"process": "ok"}
