"""Wait for a job's end: `Prefer: wait=N` at its submit, `?wait=N` when it is read."""

import asyncio
from typing import Any

import httpx2
import pytest

from jobqueue.operations import waiting
from tests.engine import FAILURE, any_id
from tests.integration.api.conftest import Api, make_key, read_job, running_waiter

LONG_S = 20.0


async def submit(api: Api, prefer: str, *, key: str = "k", **fields: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key, "Prefer": prefer}
    return await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}, **fields}, headers=headers)


async def claim_soon(api: Api) -> Any:
    async with asyncio.timeout(LONG_S):
        while not (leases := await api.engine.claim()):
            await asyncio.sleep(0.01)
    return leases[0]


class TestPrefer:
    async def test_a_job_that_ends_in_time_is_answered_finished(self, api: Api) -> None:
        async with asyncio.TaskGroup() as group:
            answered = group.create_task(submit(api, "respond-async, wait=20"))
            await api.engine.settle(await claim_soon(api))
        answer = answered.result()
        job = read_job(answer)
        assert (answer.status_code, job.status, answer.headers["preference-applied"]) == (200, "succeeded", "wait=20")
        assert answer.headers["location"] == f"/v1/jobs/{job.id}"
        assert "idempotent-replayed" not in answer.headers

    async def test_every_end_is_an_end(self, api: Api) -> None:
        async with asyncio.TaskGroup() as group:
            answered = group.create_task(submit(api, "wait=20"))
            await api.engine.settle(await claim_soon(api), FAILURE, is_retryable=False)
        assert (answered.result().status_code, read_job(answered.result()).status) == (200, "dlq")

    async def test_one_that_does_not_is_answered_202(self, api: Api) -> None:
        answer = await submit(api, "wait=0")
        job = read_job(answer)
        assert (answer.status_code, job.status, answer.headers["preference-applied"]) == (202, "queued", "wait=0")
        assert answer.headers["location"] == f"/v1/jobs/{job.id}"
        begun_s = asyncio.get_running_loop().time()
        assert (await submit(api, "wait=1", key="other")).status_code == 202
        assert 1.0 <= asyncio.get_running_loop().time() - begun_s < 5.0

    async def test_a_replay_waits_for_the_same_job(self, api: Api) -> None:
        first = read_job(await submit(api, "wait=0"))
        async with asyncio.TaskGroup() as group:
            answered = group.create_task(submit(api, "wait=20"))
            await api.engine.settle(await claim_soon(api))
        again = answered.result()
        assert (again.status_code, read_job(again).id, again.headers["idempotent-replayed"]) == (200, first.id, "true")
        at_once = await submit(api, "wait=20")
        assert (at_once.status_code, read_job(at_once).status) == (200, "succeeded")

    async def test_without_it_the_answer_is_201_and_names_no_preference(self, api: Api) -> None:
        for number, prefer in enumerate(("", "return=minimal", "wait=x")):
            answer = await submit(api, prefer, key=f"k{number}")
            assert (answer.status_code, "preference-applied" in answer.headers) == (201, False)

    async def test_waiting_does_not_count_for_equality(self, api: Api) -> None:
        first = read_job(await api.submit("t", key="k"))
        assert read_job(await submit(api, "wait=0")).id == first.id

    async def test_a_refusal_does_not_wait(self, api: Api) -> None:
        async with asyncio.timeout(5):
            assert (await submit(api, "wait=30", queue="a/b")).status_code == 422


class TestWait:
    async def test_a_job_is_shown_when_it_has_ended(self, api: Api) -> None:
        job_id = read_job(await api.submit()).id
        async with asyncio.TaskGroup() as group:
            answered = [group.create_task(api.client.get(f"/v1/jobs/{job_id}?wait=20")) for _ in range(5)]
            await api.engine.settle(await claim_soon(api))
        assert [read_job(one.result()).status for one in answered] == ["succeeded"] * 5

    async def test_or_as_it_is_after_that_time(self, api: Api) -> None:
        job_id = read_job(await api.submit()).id
        answer = await api.client.get(f"/v1/jobs/{job_id}?wait=1")
        assert (answer.status_code, read_job(answer).status) == (200, "queued")

    async def test_a_job_that_is_not_there_is_not_waited_for(self, api: Api) -> None:
        async with asyncio.timeout(5):
            for number in (any_id(), "x"):
                assert (await api.client.get(f"/v1/jobs/{number}?wait=30")).status_code == 404
            job_id = read_job(await api.submit()).id
            async with api.as_other(await make_key(api.engine, await api.engine.tenant("other"))) as client:
                assert (await client.get(f"/v1/jobs/{job_id}?wait=30")).status_code == 404

    @pytest.mark.parametrize("wait", ["31", "-1", "x", "1.5", "inf", ""])
    async def test_a_wrong_time_is_refused(self, api: Api, wait: str) -> None:
        answer = await api.client.get(f"/v1/jobs/{any_id()}", params={"wait": wait})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/wait")


class TestEndWaiter:
    async def test_those_who_wait_are_let_go_when_it_stops(self, api: Api) -> None:
        job_id = await api.engine.submit(api.caller)
        async with asyncio.TaskGroup() as group, running_waiter(api.engine) as end_waiter:
            waits = group.create_task(end_waiter.wait(api.caller, job_id, timeout_s=LONG_S))
            await asyncio.sleep(0.1)
        assert waits.result() is False
        assert await end_waiter.wait(api.caller, job_id, timeout_s=LONG_S) is False

    async def test_more_than_so_many_are_told_at_once(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "WAITING_MAX", 2)
        job_id = await api.engine.submit(api.caller)
        async with running_waiter(api.engine) as end_waiter, asyncio.TaskGroup() as group:
            waits = [group.create_task(end_waiter.wait(api.caller, job_id, timeout_s=LONG_S)) for _ in range(2)]
            await asyncio.sleep(0.01)
            async with asyncio.timeout(1):
                assert await end_waiter.wait(api.caller, job_id, timeout_s=LONG_S) is False
            await api.engine.settle(await api.engine.claim_one())
        assert [one.result() for one in waits] == [True, True]
