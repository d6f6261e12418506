"""`/metrics` on the API port: an operator sees everything, a tenant its own series and its own depth."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobqueue.domain.access import Scope
from tests.engine import request
from tests.integration.api.conftest import Api, make_key


@pytest_asyncio.fixture
async def operator(api: Api) -> AsyncIterator[str]:
    yield await make_key(api.engine, api.caller, scopes=[Scope.OPERATOR.value])


async def page_of(api: Api, credential: str) -> list[str]:
    async with api.as_other(credential) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text.splitlines()


async def test_tenant_sees_its_own_depth_and_operator_that_of_all(api: Api, operator: str) -> None:
    umbrella = await api.engine.tenant("umbrella")
    await api.engine.submit_all(umbrella, [request() for _ in range(3)])
    await api.submit()
    own = await page_of(api, api.key)
    tenant = api.caller.tenant
    assert f'job_queue_depth{{tenant_id="{tenant}"}} 1.0' in own
    assert f'jobs_submitted_total{{priority="normal",tenant_id="{tenant}"}} 1.0' in own
    assert not [line for line in own if not line.startswith("#") and f'tenant_id="{tenant}"' not in line]
    everything = await page_of(api, operator)
    assert f'job_queue_depth{{tenant_id="{tenant}"}} 1.0' in everything
    assert 'job_queue_depth{tenant_id="umbrella"} 3.0' in everything
    assert 'jobs{status="queued"} 4.0' in everything
    assert any(line.startswith('queue_oldest_ready_age_seconds{queue="default"} ') for line in everything)
    assert any(line.startswith("database_connections_max ") for line in everything)


async def test_cancelled_and_retried_by_hand_are_counted_once(api: Api) -> None:
    first, second = [(await api.submit()).json()["id"] for _ in range(2)]
    for _ in range(2):
        assert (await api.client.post(f"/v1/jobs/{first}/cancel")).status_code == 200
    assert (await api.client.post("/v1/jobs/cancel", json={"filter": {}, "limit": 10})).json() == {"count": 1}
    assert (await api.client.post(f"/v1/jobs/{second}/retry", json={})).status_code == 200
    own = await page_of(api, api.key)
    tenant = api.caller.tenant
    assert f'jobs_completed_total{{status="cancelled",tenant_id="{tenant}"}} 2.0' in own
    assert f'job_retries_total{{tenant_id="{tenant}"}} 1.0' in own


@pytest.mark.parametrize("path", ["/v1/jobs/{job_id}?wait=3", "/v1/leases"])
async def test_time_a_caller_asked_to_wait_is_no_latency(api: Api, operator: str, path: str) -> None:
    job_id = (await api.submit("nobody-takes-it")).json()["id"]
    if path == "/v1/leases":
        body = {"worker_id": "w", "queues": ["*"], "job_types": ["other"], "max_jobs": 1, "wait_seconds": 3}
        assert (await api.client.post(path, json=body)).json()["leases"] == []
    else:
        assert (await api.client.get(path.format(job_id=job_id))).json()["status"] == "queued"
    endpoint = path.partition("?")[0]
    page = await page_of(api, operator)
    (summed,) = [line for line in page if line.startswith("api_request_latency_seconds_sum{") and f'"{endpoint}"' in line]
    assert float(summed.rpartition(" ")[2]) < 3
