"""One job changed by hand."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobqueue.operations import jobs as operations
from tests.engine import FAILURE, any_id, until_somebody_waits
from tests.integration.api.conftest import Api, make_key, read_job


async def patch(api: Api, job_id: object, **fields: Any) -> Any:
    return await api.client.patch(f"/v1/jobs/{job_id}", json=fields)


async def force(api: Api, job_id: object, body: Any = None) -> Any:
    return await api.client.post(f"/v1/jobs/{job_id}/force-success", json=body)


class TestPatch:
    async def test_a_waiting_job_is_changed_and_woken(self, api: Api) -> None:
        job_id = read_job(await api.submit(priority="low")).id
        api.engine.woken.clear()
        answer = await patch(api, job_id, priority="critical", max_attempts=7)
        job = read_job(answer)
        assert (answer.status_code, job.priority, job.max_attempts, job.status) == (200, "critical", 7, "queued")
        assert read_job(await api.client.get(f"/v1/jobs/{job_id}")).priority == "critical"
        assert len(api.engine.woken) == 1
        assert await api.engine.history(api.caller, job_id) == ["submitted", "updated"]
        lease = await api.engine.claim_one()
        assert (lease.priority, lease.standing.policy.attempts_max) == ("critical", 7)
        await api.engine.settle(lease)
        await api.engine.check_counts()

    async def test_a_better_priority_goes_first(self, api: Api) -> None:
        ids = [read_job(await api.submit(priority="normal")).id for _ in range(3)]
        await patch(api, ids[2], priority="critical")
        assert [lease.job_id for lease in await api.engine.claim(jobs_max=1)] == [ids[2]]

    async def test_a_job_is_put_off_and_brought_forward(self, api: Api) -> None:
        job_id = read_job(await api.submit()).id
        later = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
        job = read_job(await patch(api, job_id, scheduled_at=later.isoformat()))
        assert (job.status, job.scheduled_at) == ("scheduled", later)
        assert await api.engine.claim() == []
        for now in (None, "2020-01-01T00:00:00Z"):
            await patch(api, job_id, scheduled_at=later.isoformat())
            job = read_job(await patch(api, job_id, scheduled_at=now))
            assert (job.status, job.scheduled_at) == ("queued", None)
        assert (await api.engine.claim_one()).job_id == job_id
        await api.engine.check_counts()

    async def test_a_failed_job_stays_failed_until_its_new_time(self, api: Api) -> None:
        job_id = await api.engine.failed(api.caller)
        later = datetime.now(UTC) + timedelta(hours=5)
        assert read_job(await patch(api, job_id, scheduled_at=later.isoformat())).status == "failed"
        assert read_job(await patch(api, job_id, scheduled_at=None)).status == "queued"
        await api.engine.check_counts()

    async def test_attempts_that_leave_none_are_refused(self, api: Api) -> None:
        job_id = await api.engine.failed(api.caller, max_attempts=5)
        answer = await patch(api, job_id, max_attempts=1)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/max_attempts")
        assert read_job(await patch(api, job_id, max_attempts=2)).max_attempts == 2

    async def test_what_does_not_wait_is_refused_with_its_status(self, api: Api) -> None:
        await api.submit()
        lease = await api.engine.claim_one()
        for move, status in ((None, "leased"), (api.engine.start, "running"), (api.engine.settle, "succeeded")):
            if move is not None:
                await move(lease)
            answer = await patch(api, lease.job_id, priority="high")
            assert (answer.status_code, answer.json()["code"], answer.json()["job_status"]) == (409, "wrong_state", status)
        dlq = await api.engine.dlq(api.caller)
        assert (await patch(api, dlq, priority="high")).status_code == 409

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({}, ""),
            ({"priority": "urgent"}, "/priority"),
            ({"priority": None}, "/priority"),
            ({"max_attempts": 0}, "/max_attempts"),
            ({"max_attempts": None}, "/max_attempts"),
            ({"max_attempts": 1001}, "/max_attempts"),
            ({"max_attempts": "3"}, "/max_attempts"),
            ({"scheduled_at": "tomorrow"}, "/scheduled_at"),
            ({"scheduled_at": 1}, "/scheduled_at"),
            ({"queue": "other"}, "/queue"),
            ({"tags": []}, "/tags"),
        ],
    )
    async def test_a_wrong_change_is_refused_with_its_place_and_changes_nothing(
        self, api: Api, fields: dict[str, Any], pointer: str
    ) -> None:
        job_id = read_job(await api.submit()).id
        answer = await patch(api, job_id, **fields)
        assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])
        assert await api.engine.history(api.caller, job_id) == ["submitted"]

    async def test_of_a_change_and_a_claim_at_once_both_are_right(self, api: Api) -> None:
        """Patched while it is claimed: either the claim has the change, or the change is refused."""
        claimer = await api.engine.claimer()
        for _ in range(15):
            job_id = read_job(await api.submit(priority="low")).id
            async with asyncio.TaskGroup() as group:
                changed = group.create_task(patch(api, job_id, priority="high"))
                claimed = group.create_task(claimer.claim(jobs_max=1))
            leases = claimed.result() or await claimer.claim(jobs_max=1) or await api.engine.claim()
            assert changed.result().status_code in (200, 409)
            assert [lease.priority for lease in leases] == ["high" if changed.result().status_code == 200 else "low"]
            await api.engine.settle(leases[0])
        await api.engine.check_counts()


class TestForceSuccess:
    @pytest.mark.parametrize("state", ["dlq", "failed"])
    async def test_a_job_that_failed_is_declared_done(self, api: Api, state: str) -> None:
        job_id = await getattr(api.engine, state)(api.caller)
        answer = await force(api, job_id, {"result": {"by": "hand"}, "reason": "paid by phone"})
        job = read_job(answer)
        assert (answer.status_code, job.status, job.error, job.progress) == (200, "succeeded", None, 100)
        assert (await api.client.get(f"/v1/jobs/{job_id}/result")).json()["result"] == {"by": "hand"}
        last = (await api.client.get(f"/v1/jobs/{job_id}/events")).json()["items"][-1]
        key_id = api.key.split("_")[1]
        assert (last["type"], last["data"]) == ("job.force_succeeded", {"by": f"key:{key_id}", "reason": "paid by phone"})
        assert await api.engine.claim() == []
        await api.engine.check_counts()

    @pytest.mark.parametrize("body", [None, {}, {"result": None, "reason": None}])
    async def test_nothing_need_be_said(self, api: Api, body: Any) -> None:
        job_id = await api.engine.dlq(api.caller)
        sent = await (force(api, job_id, body) if body is not None else api.client.post(f"/v1/jobs/{job_id}/force-success"))
        assert sent.status_code == 200
        assert (await api.client.get(f"/v1/jobs/{job_id}/result")).json()["result"] is None

    async def test_any_other_status_is_refused(self, api: Api) -> None:
        waiting = read_job(await api.submit("other")).id
        succeeded = await api.engine.succeeded(api.caller)
        for job_id, status in ((waiting, "queued"), (succeeded, "succeeded")):
            answer = await force(api, job_id)
            assert (answer.status_code, answer.json()["code"], answer.json()["job_status"]) == (409, "wrong_state", status)

    async def test_of_a_retry_and_a_declaration_at_once_one_wins(self, api: Api) -> None:
        for _ in range(10):
            job_id = await api.engine.dlq(api.caller)
            async with asyncio.TaskGroup() as group:
                forced = group.create_task(force(api, job_id))
                retried = group.create_task(operations.retry(api.engine.db, api.caller, job_id, is_reset=True))
            # a job declared done can still be run again, but one that was sent back cannot be declared done
            assert retried.done()
            assert (await api.engine.status(api.caller, job_id)) == "queued"
            assert forced.result().status_code in (200, 409)
            await api.engine.settle(await api.engine.claim_one())
        await api.engine.check_counts()

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"reason": 1}, "/reason"),
            ({"reason": "x" * 1001}, "/reason"),
            ({"results": 1}, "/results"),
            ({"result": "x" * 262_145}, "/result"),
            ([], ""),
        ],
    )
    async def test_a_wrong_body_is_refused_with_its_place(self, api: Api, body: Any, pointer: str) -> None:
        job_id = await api.engine.dlq(api.caller)
        answer = await force(api, job_id, body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert await api.engine.status(api.caller, job_id) == "dlq"


async def test_a_job_that_is_not_the_caller_s_is_not_found(api: Api) -> None:
    job_id: UUID = await api.engine.dlq(api.caller)
    async with api.as_other(await make_key(api.engine, await api.engine.tenant("other"))) as client:
        for number in (job_id, any_id(), "x"):
            assert (await client.patch(f"/v1/jobs/{number}", json={"priority": "high"})).status_code == 404
            assert (await client.post(f"/v1/jobs/{number}/force-success")).status_code == 404
    assert await api.engine.history(api.caller, job_id) == ["submitted", "leased", "started", "failed", "dlq"]


async def test_changes_need_jobs_write(api: Api) -> None:
    job_id = await api.engine.dlq(api.caller)
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:read", "work", "tenant:admin"])) as client:
        for answer in (
            await client.patch(f"/v1/jobs/{job_id}", json={"priority": "high"}),
            await client.post(f"/v1/jobs/{job_id}/force-success"),
            await client.post("/v1/dlq/replay", json={}),
            await client.post("/v1/jobs/cancel", json={"filter": {}}),
        ):
            assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:write")


async def test_a_late_settle_after_a_forced_success_is_lost(api: Api) -> None:
    """The first run's lease is long gone when the job is declared done."""
    await api.submit(max_attempts=1)
    lease = await api.engine.claim_one()
    await api.engine.settle(lease, FAILURE)
    await force(api, lease.job_id)
    assert (await api.engine.settle(lease)).status in ("lease_lost", "replayed")
    assert await api.engine.status(api.caller, lease.job_id) == "succeeded"


@pytest.mark.parametrize("fields", [{"priority": "high"}, {"max_attempts": 7}])
async def test_a_job_that_becomes_due_while_it_is_changed_is_changed_where_it_is_then(api: Api, fields: dict[str, Any]) -> None:
    """Interleaving: a promotion holds the job's row in scheduled, the change waits for it and finds the job in ready."""
    job_id = await api.engine.submit(api.caller, delay_s=3600.0)
    later = await api.engine.later(86_400)
    promotion = api.engine.raw.transaction()
    await promotion.start()
    await api.engine.raw.execute("SELECT FROM jobqueue.promote_v1(10, $1)", later)
    watcher = await api.engine.connect()
    try:
        async with asyncio.TaskGroup() as group:
            changed = group.create_task(patch(api, job_id, **fields))
            await until_somebody_waits(watcher, on=api.engine.raw.get_server_pid())
            await promotion.commit()
    finally:
        await watcher.close()
    answer = changed.result()
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in fields} == fields
    assert answer.json()["status"] == "queued"
    await api.engine.check_counts()
