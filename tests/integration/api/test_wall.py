"""Two walls keep tenants apart, and each is enough.

Here the conditions on the tenant are taken out of the single-tenant statements and of the functions they call, so that only row-level
security is left. Without that wall the same build leaks, or these tests would show nothing.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import and_, select

from jobqueue.operations import migrations
from jobqueue.store import job_lists
from jobqueue.store.functions import function_source
from jobqueue.store.statements import all_names, source, statement
from tests.engine import request
from tests.integration.api.conftest import Api, make_key

OWN = re.compile(r"\b(?:\w+\.)?tenant_id = (@tenant_id|p_tenant_id)\b")
FUNCTIONS = ("status_v1", "cancel_v1", "retry_v1", "patch_v1", "force_success_v1", "read_jobs_v1", "set_queue_v1")
CANARY = "canary-of-acme"
COUNT = "INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered) VALUES ($1, 1, 'queued', 0, 0)"


def without_conditions(text: str) -> str:
    return OWN.sub(lambda match: f"({match[1]}::int IS NOT NULL)", text)


def single_tenant_statements() -> list[str]:
    return [name for name in all_names() if statement(name).is_of_one_tenant]


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The build without the first wall; answers the statements that lost a condition."""
    changed = []
    for name in single_tenant_statements():
        made = statement(name)
        text = re.sub(r"\b(?:\w+\.)?tenant_id = (\$\d+)", r"(\1::int IS NOT NULL)", made.text)
        if text != made.text:
            changed.append((made, made.text))
            object.__setattr__(made, "text", text)
    monkeypatch.setattr(job_lists, "_newest", newest_of_everybody)
    yield [made.name for made, _ in changed]
    for made, text in changed:
        object.__setattr__(made, "text", text)


def newest_of_everybody(table: Any, conditions: Any, window: Any) -> Any:
    """job_lists._newest without its condition on the tenant."""
    columns = [table.c[name] for name in window.columns if name in table.c]
    bounds = [table.c.job_id < window.before, table.c.job_id >= window.since, *conditions]
    return select(table.c.job_id, *columns).where(and_(*bounds)).order_by(table.c.job_id.desc()).limit(window.rows_max)


async def break_functions(api: Api) -> None:
    for name in FUNCTIONS:
        text = without_conditions(function_source(name)).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        assert "IS NOT NULL)" in text
        await api.engine.raw.execute(text)


async def acme_s_jobs(api: Api) -> list[str]:
    """Jobs of acme in several states, with a canary in each field."""
    await api.engine.dlq(api.caller, key="dead")
    await api.engine.succeeded(api.caller, key="done")
    await api.engine.failed(api.caller)
    waiting = await api.submit("t", data={"secret": CANARY}, metadata={"secret": CANARY}, tags=[CANARY], queue=CANARY)
    await api.engine.submit_all(api.caller, [request(correlation_id=CANARY), request(delay_s=60.0, correlation_id=CANARY)])
    rows = await api.engine.raw.fetch("SELECT job_id FROM jobqueue.job WHERE tenant_id = $1", api.caller.tenant_id)
    assert waiting.status_code == 201
    return [str(row[0]) for row in rows]


async def visit(client: httpx2.AsyncClient, job_ids: list[str]) -> list[httpx2.Response]:
    """Everything another tenant may try on these ids, and every list of its own."""
    calls = [("GET", f"/v1/jobs?page_size=200{more}") for more in ("", "&status=dlq", "&status=queued", "&status=succeeded")]
    calls += [("GET", "/v1/queues"), ("GET", "/v1/jobs/stats"), ("GET", "/v1/stats"), ("GET", "/v1/workers"), ("GET", "/v1/api-keys")]
    calls += [("GET", f"/v1/stats?queues={CANARY}"), ("GET", f"/v1/queues/{CANARY}")]
    for job_id in job_ids:
        one = f"/v1/jobs/{job_id}"
        calls += [("GET", one), ("GET", f"{one}/events"), ("GET", f"{one}/result")]
        calls += [("POST", f"{one}/cancel"), ("POST", f"{one}/retry"), ("POST", f"{one}/force-success"), ("DELETE", one)]
    answers = [await client.request(method, path) for method, path in calls]
    return [*answers, *[await client.patch(f"/v1/jobs/{job_id}", json={"priority": "high"}) for job_id in job_ids]]


async def state(api: Api) -> list[Any]:
    """What acme's jobs are, to the last row."""
    found = []
    for table in ("job", "ready", "scheduled", "ended", "lease", "parked"):
        query = f"SELECT * FROM jobqueue.{table} WHERE tenant_id = $1 ORDER BY job_id"
        found.append([tuple(row) for row in await api.engine.raw.fetch(query, api.caller.tenant_id)])
    return found


def leaks(answers: list[httpx2.Response], job_ids: list[str]) -> list[str]:
    """The answers that show something of acme's, or did something to it."""
    found = []
    for answer in answers:
        path = answer.request.url.path
        shown = answer.text.replace(path, "")
        is_found = any(job_id in path for job_id in job_ids) and answer.status_code != 404
        is_shown = any(job_id in shown for job_id in job_ids) or (CANARY in shown and CANARY not in str(answer.request.url))
        if is_found or is_shown:
            found.append(f"{answer.request.method} {path}: {answer.status_code}")
    return found


async def test_with_the_conditions_taken_out_row_level_security_alone_keeps_tenants_apart(api: Api, mutant: list[str]) -> None:
    assert len(mutant) >= 10
    job_ids = await acme_s_jobs(api)
    stranger = await api.engine.tenant("stranger")
    await break_functions(api)
    before = await state(api)
    async with api.as_other(await make_key(api.engine, stranger)) as client:
        answers = await visit(client, job_ids)
        assert leaks(answers, job_ids) == []
        assert all(answer.status_code < 500 for answer in answers)
        assert (await client.get("/v1/jobs/stats")).json()["total"] == 0
    assert await state(api) == before


async def test_the_same_build_without_the_wall_leaks(api: Api, mutant: list[str]) -> None:
    job_ids = await acme_s_jobs(api)
    stranger = await api.engine.tenant("stranger")
    await break_functions(api)
    api.engine.db.has_wall = False
    async with api.as_other(await make_key(api.engine, stranger)) as client:
        assert len(leaks(await visit(client, job_ids), job_ids)) > 10


async def test_with_both_walls_a_tenant_sees_and_changes_its_own(api: Api) -> None:
    job_ids = await acme_s_jobs(api)
    assert {job["id"] for job in (await api.client.get("/v1/jobs?page_size=200")).json()["items"]} == set(job_ids)
    cancelled = [(await api.client.post(f"/v1/jobs/{job_id}/cancel")).status_code for job_id in job_ids]
    assert {200, 409} >= set(cancelled)
    assert 200 in cancelled


async def test_the_role_can_write_no_row_of_another_tenant(api: Api) -> None:
    other = await api.engine.tenant("other")
    async with api.engine.raw.transaction():
        await api.engine.raw.execute(f"SET LOCAL ROLE jobqueue_tenant; SET LOCAL jobqueue.tenant_id = '{api.caller.tenant_id}'")
        await api.engine.raw.execute(COUNT, api.caller.tenant_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with api.engine.raw.transaction():
                await api.engine.raw.execute(COUNT, other.tenant_id)
        for table in ("leader", "plan", "schema_version"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with api.engine.raw.transaction():
                    await api.engine.raw.execute(f"DELETE FROM jobqueue.{table}")


async def test_without_a_tenant_the_role_sees_nothing_and_no_connection_keeps_one(api: Api) -> None:
    await acme_s_jobs(api)
    for _ in range(20):
        await api.client.get("/v1/jobs/stats")
    assert await api.engine.db.fetch_value(statement("server/clock")) > 0
    async with api.engine.raw.transaction():
        await api.engine.raw.execute("SET LOCAL ROLE jobqueue_tenant")
        assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == 0


async def test_every_table_with_a_tenant_is_bound(api: Api) -> None:
    unbound = await api.engine.raw.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND NOT (c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))"
    )
    assert unbound == []


async def test_several_databases_of_one_server_may_raise_it_at_once(databases: Any) -> None:
    names = [await databases.create() for _ in range(4)]
    try:
        assert await asyncio.gather(*(migrations.upgrade(databases.dsn(name)) for name in names)) == [None] * 4
    finally:
        for name in names:
            await databases.drop(name)


async def test_who_may_not_become_the_role_is_told_what_to_do_and_goes_without(api: Api) -> None:
    await api.engine.raw.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
    try:
        await api.engine.raw.execute("GRANT USAGE ON SCHEMA jobqueue TO modest")
        connection = await asyncpg.connect(api.engine.dsn, user="modest", password="modest")
        try:
            said = await connection.fetchval("SELECT jobqueue.raise_wall_v1()")
            assert "as a superuser run GRANT jobqueue_tenant TO modest" in said
            assert not await connection.fetchval(statement("server/wall").text)
        finally:
            await connection.close()
    finally:
        await api.engine.raw.execute("DROP OWNED BY modest; DROP ROLE modest")


def test_sources_say_of_each_statement_whether_it_is_of_one_tenant() -> None:
    for name in all_names():
        assert statement(name).is_of_one_tenant != bool(re.search(r"^-- tenant:", source(name), re.MULTILINE)), name
