"""Queues: their settings as they are shown, and in force."""

import asyncio
from typing import Any

import pytest

from jobqueue.domain.lease import Lease
from jobqueue.operations import queues
from jobqueue.protocol.queues import Queue
from tests.engine import FAILURE, request
from tests.integration.api.conftest import Api, make_key, open_api, read_job

DEFAULTS = {
    "paused": False,
    "max_concurrent": None,
    "key_max_concurrent": 1,
    "rate_per_second": None,
    "max_attempts": None,
    "retry_base_seconds": None,
}


async def change(api: Api, name: str, **settings: Any) -> dict[str, Any]:
    answer = await api.client.patch(f"/v1/queues/{name}", json=settings)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == set(Queue.model_fields)
    return dict(answer.json())


async def verb(api: Api, name: str, what: str) -> dict[str, Any]:
    answer = await api.client.post(f"/v1/queues/{name}/{what}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestSettings:
    async def test_a_queue_exists_once_it_is_used(self, api: Api) -> None:
        assert (await api.client.get("/v1/queues/default")).status_code == 404
        assert (await api.client.get("/v1/queues")).json() == {"items": [], "next_cursor": None, "has_more": False}
        await api.submit()
        assert (await api.client.get("/v1/queues/default")).json() == {"name": "default", **DEFAULTS}
        await api.engine.settle(await api.engine.claim_one())
        assert (await api.client.get("/v1/queues/default")).status_code == 200

    async def test_settings_can_be_made_before_the_first_job(self, api: Api) -> None:
        assert await change(api, "later", max_concurrent=2) == {"name": "later", **DEFAULTS, "max_concurrent": 2}
        assert (await api.client.get("/v1/queues/later")).json()["max_concurrent"] == 2

    async def test_what_is_left_out_stays_and_null_is_the_default(self, api: Api) -> None:
        everything = {
            "paused": True,
            "max_concurrent": 5,
            "key_max_concurrent": 3,
            "rate_per_second": 0.5,
            "max_attempts": 9,
            "retry_base_seconds": 1.5,
        }
        assert await change(api, "q", **everything) == {"name": "q", **everything}
        for field, value in everything.items():
            assert await change(api, "q", **{field: None}) == {"name": "q", **everything, field: DEFAULTS[field]}
            assert await change(api, "q", **{field: value}) == {"name": "q", **everything}
        assert await verb(api, "q", "resume") == {"name": "q", **everything, "paused": False}
        assert await verb(api, "q", "pause") == {"name": "q", **everything}

    async def test_settings_belong_to_the_tenant(self, api: Api) -> None:
        await change(api, "default", paused=True)
        other = await api.engine.tenant("other")
        async with api.as_other(await make_key(api.engine, other)) as client:
            assert (await client.get("/v1/queues/default")).status_code == 404
            assert (await client.get("/v1/queues")).json()["items"] == []
        await api.engine.submit(other)
        assert (await api.engine.claim_one()).tenant == "other"

    async def test_queues_are_listed_by_name_in_pages(self, api: Api) -> None:
        names = sorted(f"q{number}" for number in range(7))
        for name in names[:4]:
            await api.submit(queue=name)
        for name in names[3:]:
            await verb(api, name, "pause")
        answer = await api.client.get("/v1/queues", params={"page_size": 3})
        found = answer.json()["items"]
        while "next" in answer.links:
            assert answer.json()["has_more"] is True
            answer = await api.client.get(answer.links["next"]["url"])
            found += answer.json()["items"]
        assert answer.json()["next_cursor"] is None
        assert [queue["name"] for queue in found] == names
        assert [queue["paused"] for queue in found] == [False] * 3 + [True] * 4

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, ""),
            ({"paused": "yes"}, "/paused"),
            ({"max_concurrent": -1}, "/max_concurrent"),
            ({"max_concurrent": 1.5}, "/max_concurrent"),
            ({"max_concurrent": 10**12}, "/max_concurrent"),
            ({"key_max_concurrent": 0}, "/key_max_concurrent"),
            ({"rate_per_second": 0}, "/rate_per_second"),
            ({"rate_per_second": 5e-324}, "/rate_per_second"),
            ({"rate_per_second": 1e300}, "/rate_per_second"),
            ({"max_attempts": 0}, "/max_attempts"),
            ({"max_attempts": 1001}, "/max_attempts"),
            ({"retry_base_seconds": -1}, "/retry_base_seconds"),
            ({"retry_base_seconds": 1e300}, "/retry_base_seconds"),
            ({"name": "other"}, "/name"),
            ([], ""),
        ],
    )
    async def test_a_wrong_setting_is_refused_with_its_place_and_nothing_is_made(self, api: Api, body: Any, pointer: str) -> None:
        answer = await api.client.patch("/v1/queues/fresh", json=body)
        assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])
        assert (await api.client.get("/v1/queues/fresh")).status_code == 404

    @pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "x" * 101, "%00", "é", "a:b"])
    async def test_a_malformed_name_is_not_found(self, api: Api, name: str) -> None:
        for answer in (
            await api.client.get(f"/v1/queues/{name}"),
            await api.client.patch(f"/v1/queues/{name}", json={"paused": True}),
            await api.client.post(f"/v1/queues/{name}/pause"),
            await api.client.post(f"/v1/queues/{name}/resume"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_a_wrong_page_is_refused(self, api: Api) -> None:
        for query, status in (({"cursor": "!"}, 400), ({"page_size": 0}, 422), ({"page_size": 201}, 422), ({"page": 1}, 422)):
            assert (await api.client.get("/v1/queues", params=query)).status_code == status

    async def test_reading_needs_jobs_read_and_changing_jobs_write(self, api: Api) -> None:
        await api.submit()
        async with api.as_other(await make_key(api.engine, api.caller, ["jobs:read", "tenant:admin"])) as client:
            assert (await client.get("/v1/queues/default")).status_code == 200
            for answer in (
                await client.patch("/v1/queues/default", json={"paused": True}),
                await client.post("/v1/queues/default/pause"),
                await client.post("/v1/queues/default/resume"),
            ):
                assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:write")
        async with api.as_other(await make_key(api.engine, api.caller, ["jobs:write"])) as client:
            assert (await client.get("/v1/queues")).status_code == 403
            assert (await client.get("/v1/stats")).status_code == 403
            assert (await client.post("/v1/queues/default/pause")).status_code == 200


class TestInForce:
    """Through the claimer a worker uses, with its memory, so that no memory outlives a setting."""

    async def test_a_paused_queue_is_not_claimed_until_it_is_resumed_which_wakes(self, api: Api) -> None:
        claimer = await api.engine.claimer()
        await api.submit()
        assert len(await claimer.claim(jobs_max=1)) == 1  # the lane is in its memory
        job_id = read_job(await api.submit()).id
        other_id = read_job(await api.submit(queue="other")).id
        await verb(api, "default", "pause")
        assert (await api.job(job_id)).waiting_reason == "paused"
        claimed = [lease.job_id for _ in range(5) for lease in await claimer.claim(jobs_max=10)]
        assert claimed in ([], [other_id])  # the other queue's lane may not be known yet
        api.engine.woken.clear()
        await verb(api, "default", "resume")
        assert len(api.engine.woken) == 1
        assert claimer.learn(api.engine.woken[0])
        claimed += [lease.job_id for _ in range(5) for lease in await claimer.claim(jobs_max=10)]
        assert job_id in claimed

    async def test_a_job_that_runs_when_its_queue_is_paused_goes_on(self, api: Api) -> None:
        await api.submit()
        lease = await api.engine.claim_one()
        await verb(api, "default", "pause")
        assert (await api.engine.settle(lease)).next_status == "succeeded"

    async def test_max_concurrent_is_never_passed(self, api: Api) -> None:
        await change(api, "default", max_concurrent=3)
        await api.engine.submit_all(api.caller, [request() for _ in range(20)])
        claimers = [await api.engine.claimer(worker=f"w{number}") for number in range(4)]
        held: list[Lease] = []
        done = 0
        while done < 20:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(claimer.claim(jobs_max=5)) for claimer in claimers]
            held += [lease for task in tasks for lease in task.result()]
            assert len(held) <= 3
            assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.lease") <= 3
            if held:
                await api.engine.settle(held.pop())
                done += 1
        await api.engine.check_counts()

    async def test_lowering_max_concurrent_stops_claims_and_raising_it_lets_them_on(self, api: Api) -> None:
        await api.engine.submit_all(api.caller, [request() for _ in range(10)])
        claimer = await api.engine.claimer()
        held = await claimer.claim(jobs_max=4)
        await change(api, "default", max_concurrent=2)
        assert await claimer.claim(jobs_max=4) == []
        assert len(held) == 4
        for lease in held[:3]:
            await api.engine.settle(lease)
        assert len(await claimer.claim(jobs_max=4)) == 1
        await change(api, "default", max_concurrent=0)  # no limit
        assert len(await claimer.claim(jobs_max=9)) == 5

    async def test_key_max_concurrent_is_counted_by_key(self, api: Api) -> None:
        await change(api, "default", key_max_concurrent=2)
        await api.engine.submit_all(api.caller, [request(concurrency_key=key) for key in "aaaabbbb"])
        leases = [lease for _ in range(4) for lease in await api.engine.claim(jobs_max=10)]
        assert len(leases) == 4
        assert len({lease.key_id for lease in leases}) == 2

    async def test_max_attempts_of_the_queue_are_those_of_jobs_that_do_not_say(self, api: Api) -> None:
        await change(api, "default", max_attempts=2)
        assert read_job(await api.submit()).max_attempts == 2
        assert read_job(await api.submit(max_attempts=5)).max_attempts == 5
        assert read_job(await api.submit(queue="other")).max_attempts == 3
        first = min(await api.engine.claim(), key=lambda lease: lease.job_id)
        assert (await api.engine.settle(first, FAILURE, delay_s=0.0)).next_status == "failed"
        await api.engine.promote()
        again = next(lease for lease in await api.engine.claim() if lease.job_id == first.job_id)
        assert (await api.engine.settle(again, FAILURE)).next_status == "dlq"

    async def test_retry_base_of_the_queue_bounds_the_first_wait(self, api: Api) -> None:
        await change(api, "default", retry_base_seconds=1000)
        ids = [read_job(await api.submit()).id for _ in range(20)]
        for lease in await api.engine.claim():
            await api.engine.settle(lease, FAILURE)
        now = await api.engine.now()
        waits = [(job.scheduled_at - now).total_seconds() for job in [await api.job(job_id) for job_id in ids] if job.scheduled_at]
        assert len(waits) == 20
        assert 100 < max(waits) <= 1000  # full jitter; the settings' base is 5

    async def test_rate_per_second_bounds_starts(self, api: Api) -> None:
        await change(api, "default", rate_per_second=5)
        await api.engine.submit_all(api.caller, [request() for _ in range(40)])
        claimer = await api.engine.claimer()
        begun_s = asyncio.get_running_loop().time()
        first = len(await claimer.claim(jobs_max=40))
        assert first == 5  # a second's worth at once
        count = first
        while (elapsed_s := asyncio.get_running_loop().time() - begun_s) < 2.0:
            count += len(await claimer.claim(jobs_max=40))
            await asyncio.sleep(0.02)
        assert 5 + 5 * elapsed_s - 3 <= count <= 5 + 5 * (elapsed_s + 0.5)

    async def test_a_slow_rate_lets_one_start(self, api: Api) -> None:
        await change(api, "default", rate_per_second=0.01)
        await api.engine.submit_all(api.caller, [request() for _ in range(5)])
        claimer = await api.engine.claimer()
        assert len(await claimer.claim(jobs_max=5)) == 1
        assert await claimer.claim(jobs_max=5) == []
        await change(api, "default", rate_per_second=None)
        assert len(await claimer.claim(jobs_max=5)) == 4


class TestFigures:
    async def read(self, api: Api, *names: str) -> dict[str, dict[str, Any]]:
        answer = await api.client.get("/v1/stats", params=[("queues", name) for name in names])
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["queues"])

    async def test_a_queue_nobody_used_has_zeros(self, api: Api) -> None:
        figures = await self.read(api, "nobody-s", "other")
        assert list(figures) == ["nobody-s", "other"]
        assert set(figures["nobody-s"]) == {
            *("ready", "scheduled", "running", "failed", "dlq", "oldest_ready_age_seconds"),
            *("arrival_rate", "completion_rate", "desired_workers"),
        }
        assert set(figures["nobody-s"].values()) == {0}

    async def test_figures_are_those_of_the_queue(self, api: Api) -> None:
        await api.engine.dlq(api.caller, queue="a")
        await api.engine.failed(api.caller, queue="a")
        await api.engine.succeeded(api.caller, queue="a")
        await api.engine.submit(api.caller, queue="a", delay_s=3600.0)
        await api.engine.submit_all(api.caller, [request(queue="a") for _ in range(5)])
        await api.engine.start((await api.engine.claim(jobs_max=2))[0])
        await api.engine.submit(api.caller, queue="b")
        stranger = await api.engine.tenant("stranger")
        await api.engine.submit_all(stranger, [request(queue="a") for _ in range(9)])
        await asyncio.sleep(0.05)
        figures = await self.read(api, "a", "b")
        shown = {name: figures["a"][name] for name in ("ready", "scheduled", "running", "failed", "dlq")}
        assert shown == {"ready": 3, "scheduled": 1, "running": 2, "failed": 1, "dlq": 1}
        assert 0.05 <= figures["a"]["oldest_ready_age_seconds"] < 10
        assert figures["a"]["desired_workers"] >= 1
        assert figures["b"]["ready"] == 1
        assert await self.read(api) == {name: {**figures[name], **self.ages(await self.read(api), name)} for name in ("a", "b")}

    @staticmethod
    def ages(figures: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
        return {"oldest_ready_age_seconds": pytest.approx(figures[name]["oldest_ready_age_seconds"], abs=5)}

    async def test_rates_are_what_came_and_went_since_the_sample(self, api: Api) -> None:
        await api.engine.submit(api.caller)
        await queues.sample(api.engine.db)
        await api.engine.submit_all(api.caller, [request() for _ in range(29)])
        for lease in await api.engine.claim(jobs_max=12):
            await api.engine.settle(lease, ran_s=2.0)
        await api.engine.raw.execute("UPDATE jobqueue.queue_sample SET at = at - interval '10 seconds'")
        figures = (await self.read(api, "default"))["default"]
        assert figures["arrival_rate"] == pytest.approx(2.9, rel=0.2)
        assert figures["completion_rate"] == pytest.approx(1.2, rel=0.2)
        # (2.9/s + 18 ready / 60 s) x 2 s / 0.8 = 8 slots, a worker has 100
        assert figures["desired_workers"] == 1

    async def test_workers_wanted_follow_the_load(self, database: str) -> None:
        async with open_api(database) as api:
            await api.engine.succeeded(api.caller)
            await api.engine.submit_all(api.caller, [request() for _ in range(600)])
            answer = await api.client.get("/v1/stats", params={"queues": "default"})
            few = answer.json()["queues"]["default"]["desired_workers"]
            await api.engine.raw.execute("UPDATE jobqueue.tally SET ran_s = 30 WHERE status = 'succeeded'")
            answer = await api.client.get("/v1/stats", params={"queues": "default"})
            many = answer.json()["queues"]["default"]["desired_workers"]
        # 600 ready / 60 s x 30 s / 0.8 = 375 slots; the worker that is alive has 10
        assert few < many
        assert many == 38

    @pytest.mark.parametrize("query", ["queues=a%2Fb", "queues=", "queue=a", "queues=%00", "&".join(["queues=a"] * 51)])
    async def test_a_wrong_query_is_refused(self, api: Api, query: str) -> None:
        answer = await api.client.get(f"/v1/stats?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields")
