"""A job submitted in SQL, asked for over HTTP before a reaper has moved it on: it is there, whatever is done with it."""

from uuid import UUID

import pytest

from tests.integration.api.conftest import Api


async def submit(api: Api, **more: str) -> UUID:
    arguments = "".join(f", {name} => '{value}'" for name, value in more.items())
    job_id: UUID = await api.engine.raw.fetchval(f"SELECT jobqueue.submit('acme', 't'{arguments})")
    return job_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 200),
        ("GET", "/events", 200),
        ("GET", "/result", 409),
        ("POST", "/cancel", 200),
        ("DELETE", "", 200),
        ("POST", "/retry", 409),
        ("POST", "/force-success", 409),
    ],
)
async def test_every_call_by_id_finds_it(api: Api, method: str, path: str, status: int) -> None:
    job_id = await submit(api)
    answer = await api.client.request(method, f"/v1/jobs/{job_id}{path}")
    assert answer.status_code == status, answer.text
    await api.engine.check_counts()


async def test_it_is_queued_or_scheduled(api: Api) -> None:
    assert (await api.job(await submit(api))).status == "queued"
    assert (await api.job(await submit(api, delay_seconds="60"))).status == "scheduled"


async def test_it_can_be_changed(api: Api) -> None:
    job_id = await submit(api)
    answer = await api.client.patch(f"/v1/jobs/{job_id}", json={"priority": "high"})
    assert (answer.status_code, answer.json()["priority"]) == (200, "high")


async def test_one_of_an_open_transaction_is_not_there(api: Api) -> None:
    async with api.engine.raw.transaction():
        job_id = await submit(api)
        assert (await api.client.get(f"/v1/jobs/{job_id}")).status_code == 404
    assert (await api.client.get(f"/v1/jobs/{job_id}")).status_code == 200


async def test_another_tenant_s_is_not_there_and_stays_where_it_is(api: Api) -> None:
    await api.engine.tenant("other")
    job_id = await api.engine.raw.fetchval("SELECT jobqueue.submit('other', 't')")
    assert (await api.client.get(f"/v1/jobs/{job_id}")).status_code == 404
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.inbox") == 1
