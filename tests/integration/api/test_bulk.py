"""Many jobs cancelled or sent back at once."""

import random
from typing import Any

import pytest

from jobqueue.domain.lifecycle import HELD, WAITING
from jobqueue.operations import job_lists
from tests.engine import request
from tests.integration.api.arranged import TYPES, make_jobs
from tests.integration.api.conftest import Api

CANCELLABLE = {str(status) for status in WAITING | HELD}


async def call(api: Api, path: str, body: Any) -> int:
    answer = await api.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"count"}
    return int(answer.json()["count"])


@pytest.mark.parametrize(
    "asked",
    [{}, {"queue": "alpha"}, {"job_type": ["mail", "report"], "priority": "high"}, {"status": ["queued", "succeeded"]}, {"tag": ["red"]}],
)
async def test_cancel_takes_exactly_the_jobs_of_the_filter_that_wait_or_run(api: Api, asked: dict[str, Any]) -> None:
    jobs = await make_jobs(api.engine, api.caller, 120, chance=random.Random(3))
    stranger = await api.engine.tenant("stranger")
    await api.engine.submit_all(stranger, [request("mail", queue="alpha") for _ in range(5)])
    wanted = {
        job.job_id: job.status
        for job in jobs
        if job.status in CANCELLABLE
        and all(getattr(job, name) in value for name, value in asked.items() if name != "tag")
        and set(asked.get("tag", [])) <= job.tags
    }
    assert await call(api, "/v1/jobs/cancel", {"filter": asked, "dry_run": True}) == len(wanted)
    for job in jobs:
        assert await api.engine.status(api.caller, job.job_id) == job.status
    assert await call(api, "/v1/jobs/cancel", {"filter": asked}) == len(wanted)
    for job in jobs:
        held = job.status in ("leased", "running")
        expected = "cancelled" if job.job_id in wanted and not held else job.status
        assert await api.engine.status(api.caller, job.job_id) == expected
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready WHERE tenant_id = $1", stranger.tenant_id) == 5
    await api.engine.check_counts()


@pytest.mark.parametrize("asked", [{}, {"queue": "alpha"}, {"job_type": ["mail", "report"]}, {"status": "dlq", "tag": "red"}])
async def test_replay_sends_exactly_the_dlq_jobs_of_the_filter_back_and_wakes(api: Api, asked: dict[str, Any]) -> None:
    jobs = await make_jobs(api.engine, api.caller, 120, chance=random.Random(4))
    wanted = {
        job.job_id
        for job in jobs
        if job.status == "dlq"
        and all(getattr(job, name) in value for name, value in asked.items() if name in ("queue", "job_type"))
        and {asked.get("tag", "red")} <= (job.tags if "tag" in asked else {"red"})
    }
    assert wanted
    api.engine.woken.clear()
    assert await call(api, "/v1/dlq/replay", {"filter": asked, "dry_run": True}) == len(wanted)
    assert api.engine.woken == []
    assert await call(api, "/v1/dlq/replay", {"filter": asked}) == len(wanted)
    assert await call(api, "/v1/dlq/replay", {"filter": asked}) == 0
    for job in jobs:
        assert await api.engine.status(api.caller, job.job_id) == ("queued" if job.job_id in wanted else job.status)
    lanes = await api.engine.raw.fetch(
        "SELECT DISTINCT tenant_id, queue_id, type_id, band FROM jobqueue.ready WHERE job_id = ANY ($1)", list(wanted)
    )
    assert set(api.engine.woken) == {tuple(lane) for lane in lanes}
    claimed = {lease.job_id for _ in range(5) for lease in await api.engine.claim(types=TYPES, jobs_max=100)}
    keyed = {row[0] for row in await api.engine.raw.fetch("SELECT job_id FROM jobqueue.parked")}
    assert wanted <= claimed | keyed
    await api.engine.check_counts()


async def test_a_replay_without_a_body_is_of_all(api: Api) -> None:
    await api.engine.dlq(api.caller)
    answer = await api.client.post("/v1/dlq/replay")
    assert (answer.status_code, answer.json()) == (200, {"count": 1})


async def test_a_limit_takes_the_newest(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lists, "BULK_CHUNK", 3)
    stored = await api.engine.submit_all(api.caller, [request() for _ in range(20)])
    newest = sorted((one.job_id for one in stored), reverse=True)
    assert await call(api, "/v1/jobs/cancel", {"filter": {}, "limit": 8, "dry_run": True}) == 8
    assert await call(api, "/v1/jobs/cancel", {"filter": {}, "limit": 8}) == 8
    statuses = [await api.engine.status(api.caller, job_id) for job_id in newest]
    assert statuses == ["cancelled"] * 8 + ["queued"] * 12
    assert await call(api, "/v1/jobs/cancel", {"filter": {}}) == 12


async def test_thousands_are_cancelled_in_one_call(api: Api) -> None:
    await api.engine.submit(api.caller)  # names are known from here on
    await api.engine.submit_all(api.caller, [request() for _ in range(2_499)])
    assert await call(api, "/v1/jobs/cancel", {"filter": {"status": "queued"}}) == 2_500
    assert (await api.client.get("/v1/jobs/stats")).json()["by_status"]["cancelled"] == 2_500


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/jobs/cancel", {}, "/filter"),
        ("/v1/jobs/cancel", {"filter": {"status": "done"}}, "/filter/status"),
        ("/v1/jobs/cancel", {"filter": {}, "limit": 10_001}, "/limit"),
        ("/v1/jobs/cancel", {"filter": {}, "dry_run": 1}, "/dry_run"),
        ("/v1/jobs/cancel", {"filter": {}, "dryrun": True}, "/dryrun"),
        ("/v1/dlq/replay", {"filter": {"status": "failed"}}, "/filter/status"),
        ("/v1/dlq/replay", {"filter": {"statuses": "dlq"}}, "/filter/statuses"),
        ("/v1/dlq/replay", {"limit": 0}, "/limit"),
        ("/v1/dlq/replay", [], ""),
    ],
)
async def test_a_wrong_body_is_refused_with_its_place_and_nothing_moves(api: Api, path: str, body: Any, pointer: str) -> None:
    dlq, waiting = await api.engine.dlq(api.caller), await api.engine.submit(api.caller)
    answer = await api.client.post(path, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert [await api.engine.status(api.caller, job_id) for job_id in (dlq, waiting)] == ["dlq", "queued"]
