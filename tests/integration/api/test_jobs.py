from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx2
import pytest

from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.protocol.jobs import EventsPage, JobResult, JobStats
from tests.integration.api.conftest import Api, make_key, read_job

VERBS = [("GET", ""), ("GET", "/events"), ("GET", "/result"), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")]


@pytest.mark.parametrize(("method", "verb"), VERBS)
async def test_a_job_that_is_not_there_is_another_tenant_s_or_has_no_id_at_all_is_not_found(api: Api, method: str, verb: str) -> None:
    stranger = await api.engine.tenant("stranger")
    theirs = await api.engine.dlq(stranger)
    seen = set()
    for job_id in (theirs, uuid4(), "x", "0", str(uuid4()).replace("-", ""), f"{{{uuid4()}}}", f"urn:uuid:{uuid4()}", "%00", "ü"):
        answer = await api.client.request(method, f"/v1/jobs/{job_id}{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), job_id
        seen.add(answer.json()["detail"])
    assert len(seen) == 1
    assert await api.engine.status(stranger, theirs) == Status.DLQ


async def test_a_job_is_shown_through_its_life(api: Api) -> None:
    job_id = (await api.submit(data={"a": 1})).json()["id"]
    lease = await api.engine.claim_one()
    leased = await api.job(job_id)
    assert (leased.status, leased.attempt, leased.lease_owner, leased.started_at) == ("leased", 1, "worker-1", None)
    assert leased.lease_expires_at is not None
    await api.engine.start(lease, progress=40.0, message="half way")
    running = await api.job(job_id)
    assert (running.status, running.progress, running.progress_message) == ("running", 40.0, "half way")
    await api.engine.settle(lease, result_json='{"sum": 3}', result_ref="file:a")
    done = await api.job(job_id)
    assert (done.status, done.progress, done.result_ref, done.lease_owner, done.error) == ("succeeded", 100, "file:a", None, None)
    assert done.finished_at is not None
    assert done.payload.data == {"a": 1}


async def test_a_buried_job_shows_its_error(api: Api) -> None:
    job_id = await api.engine.dlq(api.caller)
    job = await api.job(job_id)
    assert job.error is not None
    assert (job.status, job.error.type, job.error.message) == ("dlq", "Boom", "it broke")


class TestResult:
    async def test_the_result_of_a_job_that_succeeded(self, api: Api) -> None:
        job_id = await api.engine.submit(api.caller)
        await api.engine.settle(await api.engine.claim_one(), result_json='{"b": 1, "a": [null]}')
        answer = await api.client.get(f"/v1/jobs/{job_id}/result")
        result = JobResult.model_validate_json(answer.content)
        assert (result.job_id, result.status, result.result) == (job_id, "succeeded", {"b": 1, "a": [None]})
        assert set(answer.json()) == {"job_id", "status", "result", "result_ref", "finished_at"}

    async def test_a_job_that_ended_otherwise_has_none(self, api: Api) -> None:
        dlq = await api.client.get(f"/v1/jobs/{await api.engine.dlq(api.caller)}/result")
        assert (dlq.status_code, dlq.json()["status"], dlq.json()["result"]) == (200, "dlq", None)
        assert dlq.json()["finished_at"] is not None

    async def test_a_job_that_has_not_ended_says_when_to_ask_again(self, api: Api) -> None:
        for arrange in (api.engine.failed, api.engine.submit):
            answer = await api.client.get(f"/v1/jobs/{await arrange(api.caller)}/result")
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (409, "not_finished", "1")


class TestEvents:
    async def test_the_history_of_a_plain_success(self, api: Api) -> None:
        job_id = await api.engine.succeeded(api.caller)
        answer = await api.client.get(f"/v1/jobs/{job_id}/events")
        page = EventsPage.model_validate_json(answer.content)
        assert [event.type for event in page.items] == ["job.submitted", "job.leased", "job.started", "job.succeeded"]
        assert set(answer.json()["items"][0]) == {"seq", "type", "at", "attempt", "worker_id", "data"}
        assert [event.worker_id for event in page.items] == [None, "worker-1", "worker-1", "worker-1"]
        assert (page.next_cursor, page.has_more) == (None, False)
        assert answer.headers["link"] == f'</v1/jobs/{job_id}/events>; rel="first"'

    async def test_a_long_history_is_read_in_pages_by_their_links(self, api: Api) -> None:
        job_id = await api.engine.submit(api.caller)
        await api.engine.raw.execute(
            "INSERT INTO jobqueue.event (tenant_id, job_id, type, then_type)"
            " SELECT $1, $2, 'snoozed', 'queued' FROM generate_series(1, 600)",
            api.caller.tenant_id,
            job_id,
        )
        path: str | None = f"/v1/jobs/{job_id}/events"
        pages = []
        while path is not None:
            answer = await api.client.get(path)
            page = EventsPage.model_validate_json(answer.content)
            pages.append([event.seq for event in page.items])
            found = [part for part in answer.headers["link"].split(", ") if 'rel="next"' in part]
            assert (page.has_more, page.next_cursor is not None) == (bool(found), bool(found))
            path = found[0][1 : found[0].index(">")] if found else None
        seqs = [seq for page_seqs in pages for seq in page_seqs]
        assert [len(page_seqs) for page_seqs in pages] == [500, 500, 201]
        assert seqs == sorted(set(seqs))

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "1e3", "9" * 19, "１"])
    async def test_a_cursor_that_is_none_is_refused(self, api: Api, cursor: str) -> None:
        answer = await api.client.get(f"/v1/jobs/{await api.engine.submit(api.caller)}/events", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")

    async def test_a_cursor_beyond_the_end_is_an_empty_page(self, api: Api) -> None:
        answer = await api.client.get(f"/v1/jobs/{await api.engine.submit(api.caller)}/events", params={"cursor": "9" * 18})
        assert answer.json() == {"items": [], "next_cursor": None, "has_more": False}


Cancel = Callable[[Api, UUID], Awaitable[httpx2.Response]]
CANCELS: list[Cancel] = [
    lambda api, job_id: api.client.delete(f"/v1/jobs/{job_id}"),
    lambda api, job_id: api.client.post(f"/v1/jobs/{job_id}/cancel"),
]


@pytest.mark.parametrize("cancel", CANCELS, ids=["delete", "post"])
class TestCancel:
    async def test_a_waiting_job_is_cancelled_at_once_and_again(self, api: Api, cancel: Cancel) -> None:
        failed = await api.engine.failed(api.caller)
        for job_id in (failed, await api.engine.submit(api.caller), await api.engine.submit(api.caller, delay_s=60.0)):
            for _ in range(2):
                answer = await cancel(api, job_id)
                assert (answer.status_code, read_job(answer).status) == (200, "cancelled")

    async def test_a_held_job_is_asked_to_end(self, api: Api, cancel: Cancel) -> None:
        job_id = await api.engine.submit(api.caller)
        lease = await api.engine.claim_one()
        assert (await cancel(api, job_id)).status_code == 202
        await api.engine.start(lease)
        answer = await cancel(api, job_id)
        assert (answer.status_code, read_job(answer).status) == (202, "running")
        await api.engine.settle(lease, OutcomeKind.CANCELLED)
        assert (await cancel(api, job_id)).status_code == 200

    async def test_a_job_that_ended_otherwise_is_refused(self, api: Api, cancel: Cancel) -> None:
        for job_id, status in ((await api.engine.dlq(api.caller), "dlq"), (await api.engine.succeeded(api.caller), "succeeded")):
            answer = await cancel(api, job_id)
            assert (answer.status_code, answer.json()["code"], answer.json()["job_status"]) == (409, "wrong_state", status)


async def test_a_body_of_cancel_says_nothing(api: Api) -> None:
    job_id = await api.engine.submit(api.caller)
    refused = await api.client.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/reason")
    assert (await api.client.post(f"/v1/jobs/{job_id}/cancel", json={})).status_code == 200


class TestRetry:
    async def test_what_has_ended_runs_again_and_workers_are_woken(self, api: Api) -> None:
        ended = [await arrange(api.caller) for arrange in (api.engine.dlq, api.engine.succeeded, api.engine.failed)]
        cancelled = await api.engine.submit(api.caller)
        await api.client.delete(f"/v1/jobs/{cancelled}")
        for job_id in (*ended, cancelled):
            api.engine.woken.clear()
            answer = await api.client.post(f"/v1/jobs/{job_id}/retry")
            assert answer.status_code == 200
            job = read_job(answer)
            assert (job.status, job.attempt, job.finished_at) == ("queued", 0, None)
            assert len(api.engine.woken) == 1
            await api.client.delete(f"/v1/jobs/{job_id}")

    async def test_attempts_may_be_kept(self, api: Api) -> None:
        job_id = await api.engine.dlq(api.caller)
        answer = await api.client.post(f"/v1/jobs/{job_id}/retry", json={"reset_attempts": False})
        assert (answer.status_code, read_job(answer).attempt) == (200, 1)

    async def test_used_up_attempts_must_be_reset(self, api: Api) -> None:
        job_id = await api.engine.dlq(api.caller, max_attempts=1)
        refused = await api.client.post(f"/v1/jobs/{job_id}/retry", json={"reset_attempts": False})
        assert (refused.status_code, refused.json()["code"]) == (409, "attempts_exhausted")
        assert (await api.client.post(f"/v1/jobs/{job_id}/retry", json={"reset_attempts": True})).status_code == 200

    async def test_a_job_that_waits_or_runs_is_refused(self, api: Api) -> None:
        job_id = await api.engine.submit(api.caller)
        assert (await api.client.post(f"/v1/jobs/{job_id}/retry")).json()["job_status"] == "queued"
        await api.engine.claim_one()
        answer = await api.client.post(f"/v1/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["code"], answer.json()["job_status"]) == (409, "wrong_state", "leased")

    @pytest.mark.parametrize("body", [b"[]", b'{"reset_attempts":1}', b'{"reset_attempts":null}', b'{"reset":true}', b"{"])
    async def test_another_body_is_refused(self, api: Api, body: bytes) -> None:
        answer = await api.client.post(f"/v1/jobs/{await api.engine.dlq(api.caller)}/retry", content=body)
        assert answer.status_code in (400, 422)


async def test_counts_by_status_are_exact(api: Api) -> None:
    await api.engine.dlq(await api.engine.tenant("stranger"))
    for arrange in (api.engine.dlq, api.engine.dlq, api.engine.succeeded, api.engine.failed, api.engine.submit):
        await arrange(api.caller)
    await api.engine.submit(api.caller, delay_s=60.0)
    answer = await api.client.get("/v1/jobs/stats")
    stats = JobStats.model_validate_json(answer.content)
    shown = {status: jobs for status, jobs in stats.by_status.items() if jobs}
    assert set(stats.by_status) == set(Status)
    assert shown == {"dlq": 2, "succeeded": 1, "failed": 1, "queued": 1, "scheduled": 1}
    assert stats.total == 6
    assert stats.retries_total == 1
    assert set(answer.json()) == {"by_status", "total", "retries_total", "as_of"}
    assert abs((await api.engine.now() - stats.as_of).total_seconds()) < 2


async def test_each_verb_needs_its_scope(api: Api) -> None:
    job_id = await api.engine.submit(api.caller)
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:read"])) as reader:
        assert (await reader.get(f"/v1/jobs/{job_id}")).status_code == 200
        for method, verb in VERBS[3:]:
            answer = await reader.request(method, f"/v1/jobs/{job_id}{verb}")
            assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:write")
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:write"])) as writer:
        for method, verb in VERBS[:3]:
            answer = await writer.request(method, f"/v1/jobs/{job_id}{verb}")
            assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:read")
