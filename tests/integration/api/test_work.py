"""Workers in any language: claim, heartbeat, settle over HTTP (CONTRACT 3.4)."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import ANY
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
from starlette.requests import ClientDisconnect, Request

from jobqueue.api.connected import while_connected
from jobqueue.operations.leases import Holder
from jobqueue.protocol.jobs import Job
from jobqueue.telemetry.events import JobsCompleted, JobsRetried, LeasesAcquired, StaleWritesRefused
from tests.engine import any_id, request, until_somebody_waits
from tests.integration.api.conftest import Api, make_key
from tests.whole.roles import until

WORKER = "worker-1"
OFFER = {"queues": ["*"], "job_types": ["t"], "concurrency": 4, "version": "1.0"}


async def post(api: Api, path: str, body: Any, *, client: httpx2.AsyncClient | None = None) -> Any:
    answer = await (client or api.client).post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def claim(api: Api, *, client: httpx2.AsyncClient | None = None, **fields: Any) -> list[dict[str, Any]]:
    body = {"worker_id": WORKER, "claim_id": str(uuid4()), "queues": ["*"], "job_types": ["t"], "max_jobs": 10, **fields}
    return list((await post(api, "/v1/leases", body, client=client))["leases"])


async def claim_one(api: Api, **fields: Any) -> dict[str, Any]:
    (lease,) = await claim(api, max_jobs=1, **fields)
    return lease


def outcome(lease: dict[str, Any], kind: str = "succeeded", **fields: Any) -> dict[str, Any]:
    return {"job_id": lease["job"]["id"], "lease_token": lease["lease_token"], "outcome": kind, **fields}


async def settle(api: Api, *outcomes: dict[str, Any], client: httpx2.AsyncClient | None = None) -> list[dict[str, Any]]:
    return list((await post(api, "/v1/leases/settle", {"outcomes": outcomes}, client=client))["results"])


def beat(lease: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"job_id": lease["job"]["id"], "lease_token": lease["lease_token"], **fields}


async def heartbeat(api: Api, *leases: dict[str, Any], client: httpx2.AsyncClient | None = None) -> Any:
    return await post(api, f"/v1/workers/{WORKER}/heartbeat", {"state": "running", "leases": leases}, client=client)


async def end_lease(api: Api, lease: dict[str, Any]) -> None:
    await api.engine.raw.execute(
        "UPDATE jobqueue.lease SET lease_s = 0.1, expires_at = '-infinity' WHERE job_id = $1", UUID(lease["job"]["id"])
    )
    await api.engine.recover(after_s=0)


def told(api: Api, kind: type) -> list[Any]:
    events: list[Any] = []
    api.telemetry.subscribe(kind, events.append)
    return events


async def stranger_of(api: Api) -> httpx2.AsyncClient:
    return api.as_other(await make_key(api.engine, await api.engine.tenant("stranger"), ["work"]))


# ------------------------------------------------------------------------------------------------------- claim


async def test_a_claim_brings_the_whole_job_with_its_token(api: Api) -> None:
    acquired = told(api, LeasesAcquired)
    await api.submit(
        data={"a": "ü"}, queue="images", priority="high", tags=["x"], metadata={"m": 1}, concurrency_key="k", timeout_seconds=9
    )
    lease = await claim_one(api, lease_seconds=20)
    job = Job.model_validate(lease["job"])
    assert set(lease["job"]) == set(Job.model_fields)
    assert (job.status, job.payload.data, job.queue, job.priority, job.tags) == ("leased", {"a": "ü"}, "images", "high", ["x"])
    assert (job.metadata, job.concurrency_key, job.lease_owner, job.attempt) == ({"m": 1}, "k", WORKER, 1)
    assert (lease["attempt"], lease["lease_seconds"], lease["timeout_seconds"], lease["crashes"]) == (1, 20, 9, 0)
    assert lease["lease_expires_at"] == lease["job"]["lease_expires_at"]
    assert lease["job"] == (await api.client.get(f"/v1/jobs/{job.id}")).json()
    (leased,) = acquired
    assert leased == LeasesAcquired(WORKER, 1, {"images": [ANY]})


async def test_only_named_types_and_queues_of_the_own_tenant_are_given(api: Api) -> None:
    mine = (await api.submit("t", queue="a")).json()["id"]
    await api.submit("other", queue="a")
    await api.submit("t", queue="b")
    stranger = await api.engine.tenant("stranger")
    await api.engine.submit_all(stranger, [request("t", queue="a")])
    assert [lease["job"]["id"] for lease in await claim(api, queues=["a", "unused"])] == [mine]
    assert await claim(api, queues=["a"]) == []
    assert len(await claim(api)) == 1
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready") == 2


async def test_an_attempt_that_failed_shows_its_error_to_the_next(api: Api) -> None:
    await api.submit(max_attempts=2)
    lease = await claim_one(api)
    await settle(api, outcome(lease, "failed", error={"type": "Boom", "message": "no"}, delay_seconds=0))
    await api.engine.promote()
    again = await claim_one(api)
    assert (again["attempt"], again["job"]["error"]) == (2, {"type": "Boom", "message": "no", "traceback": None})


LENGTHS: Sequence[Any] = [(1, 5), (5, 5), (12.5, 12.5), (3600, 3600), (1e9, 3600), (None, 5)]


async def test_the_length_of_a_lease_is_brought_into_its_bounds(api: Api) -> None:
    for asked, granted in LENGTHS:
        await api.submit()
        assert (await claim_one(api, lease_seconds=asked))["lease_seconds"] == granted  # the test's own terms are below 5 s


async def test_the_same_claim_again_gives_what_it_still_holds(api: Api) -> None:
    for _ in range(3):
        await api.submit()
    name = str(uuid4())
    first = await claim(api, claim_id=name, max_jobs=2)
    again = await claim(api, claim_id=name, max_jobs=2)
    assert [lease["lease_token"] for lease in again] == [lease["lease_token"] for lease in first]
    assert again[0]["lease_expires_in_seconds"] <= first[0]["lease_expires_in_seconds"]
    await settle(api, outcome(first[0]))
    assert [lease["lease_token"] for lease in await claim(api, claim_id=name, max_jobs=2)] == [first[1]["lease_token"]]
    await settle(api, outcome(first[1]))
    (third,) = await claim(api, claim_id=name, max_jobs=2)
    assert third["lease_token"] not in {lease["lease_token"] for lease in first}


async def test_a_claim_s_name_is_of_its_worker_and_tenant_only(api: Api) -> None:
    name = str(uuid4())
    await api.submit()
    lease = await claim_one(api, claim_id=name)
    assert await claim(api, claim_id=name, worker_id="worker-2") == []
    async with await stranger_of(api) as stranger:
        assert await claim(api, claim_id=name, client=stranger) == []
    assert (await claim_one(api, claim_id=name))["lease_token"] == lease["lease_token"]


async def test_no_jobs_asked_for_asks_only_what_is_held(api: Api) -> None:
    name = str(uuid4())
    await api.submit()
    assert await claim(api, claim_id=name, max_jobs=0) == []
    lease = await claim_one(api, claim_id=name)
    await api.submit()
    assert [one["lease_token"] for one in await claim(api, claim_id=name, max_jobs=0)] == [lease["lease_token"]]


async def test_more_than_is_asked_for_now_goes_back(api: Api) -> None:
    ids = [(await api.submit()).json()["id"] for _ in range(3)]
    name = str(uuid4())
    await claim(api, claim_id=name, max_jobs=3)
    (kept,) = await claim(api, claim_id=name, max_jobs=1)
    statuses = {job_id: (await api.job(job_id)).status for job_id in ids}
    assert statuses == {job_id: "leased" if job_id == kept["job"]["id"] else "queued" for job_id in ids}


async def test_a_waiting_claim_is_answered_when_a_job_comes(api: Api) -> None:
    waiting = asyncio.create_task(claim(api, wait_seconds=20))
    async with asyncio.timeout(10):
        while not api.polls.waiting:
            await asyncio.sleep(0.01)
        await api.submit()
        api.polls.heard(list(api.engine.woken))
        assert len(await waiting) == 1


async def test_a_waiting_claim_ends_with_nothing_after_its_time(api: Api) -> None:
    assert await claim(api, wait_seconds=0.05) == []
    assert api.polls.waiting == 0


async def until_waiting(api: Api, count: int) -> None:
    async with asyncio.timeout(10):
        while api.polls.waiting != count:
            await asyncio.sleep(0.01)


async def test_one_claim_serves_all_who_want_the_same_and_each_has_its_own(api: Api) -> None:
    names = {f"worker-{n}": str(uuid4()) for n in range(5)}
    waiting = [
        asyncio.create_task(claim(api, worker_id=worker, claim_id=name, wait_seconds=20, lease_seconds=10 + n, max_jobs=2))
        for n, (worker, name) in enumerate(names.items())
    ]
    await until_waiting(api, 5)
    async with api.engine.raw.transaction():  # nobody claims until all are there
        await api.engine.raw.execute("SELECT FROM jobqueue.tenant FOR UPDATE")
        await api.engine.submit_all(api.caller, [request("t") for _ in range(7)])
    api.polls.heard(list(api.engine.woken))
    answers = await asyncio.gather(*waiting)
    assert sum(map(len, answers)) == 7
    assert all(1 <= len(answer) <= 2 for answer in answers)
    for n, ((worker, name), answer) in enumerate(zip(names.items(), answers, strict=True)):
        assert {(lease["job"]["lease_owner"], lease["lease_seconds"]) for lease in answer} == {(worker, 10 + n)}
        again = await claim(api, worker_id=worker, claim_id=name, max_jobs=2)
        assert {lease["lease_token"] for lease in again} == {lease["lease_token"] for lease in answer}
    results = await settle(api, *(outcome(lease) for answer in answers for lease in answer))
    assert {result["status"] for result in results} == {"settled"}
    assert await api.engine.raw.fetchval("SELECT count(DISTINCT worker_id) FROM jobqueue.outcome") == 5


async def test_what_was_claimed_for_a_poll_that_left_meanwhile_goes_back_with_its_attempt(api: Api) -> None:
    job_id = await api.engine.submit(api.caller, "t")
    blocker = await api.engine.connect()
    async with blocker.transaction():
        await blocker.execute("SELECT FROM jobqueue.ready FOR UPDATE")  # the claim takes the row when this ends
        polling = asyncio.create_task(
            api.polls.poll((api.caller.tenant_id, None, frozenset(["t"])), Holder(1, uuid4(), 30.0), jobs_max=1, wait_s=20)
        )
        await until_somebody_waits(api.engine.raw, on=blocker.get_server_pid())
        polling.cancel()
        await asyncio.wait([polling])
    blocker.terminate()

    async def is_back() -> bool:
        return await api.engine.history(api.caller, job_id) == ["submitted", "leased", "released", "queued"]

    await until(is_back, within_s=10)
    assert (await api.engine.row("ready", job_id))["attempt"] == 0


async def test_a_poll_whose_answer_is_ready_when_its_client_leaves_gives_it_back(api: Api) -> None:
    job_id = await api.engine.submit(api.caller, "t")
    poll = api.polls.poll((api.caller.tenant_id, None, frozenset(["t"])), Holder(1, uuid4(), 30.0), jobs_max=1, wait_s=20)
    left = Request({"type": "http"}, receive=gone_at_once)
    with pytest.raises(ClientDisconnect):
        await while_connected(left, poll, unwanted=lambda claimed: api.polls.give_back(api.caller.tenant_id, claimed))

    async def is_queued() -> bool:
        return await api.engine.row("ready", job_id) is not None

    await until(is_queued, within_s=10)


async def gone_at_once() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def test_a_newer_request_of_the_same_claim_ends_the_older(api: Api) -> None:
    name = str(uuid4())
    older = asyncio.create_task(claim(api, claim_id=name, wait_seconds=20))
    await until_waiting(api, 1)
    newer = asyncio.create_task(claim(api, claim_id=name, wait_seconds=20))
    assert await older == []
    await api.submit()
    api.polls.heard(list(api.engine.woken))
    assert len(await newer) == 1


WRONG_CLAIMS: Sequence[Any] = [
    ({"job_types": ["*"]}, "/job_types/0"),
    ({"job_types": []}, "/job_types"),
    ({"queues": []}, "/queues"),
    ({"max_jobs": 501}, "/max_jobs"),
    ({"wait_seconds": 31}, "/wait_seconds"),
    ({"claim_id": "x"}, "/claim_id"),
    ({"worker_id": "a b"}, "/worker_id"),
    ({"novel": 1}, "/novel"),
]


async def test_a_wrong_claim_is_refused_with_its_place(api: Api) -> None:
    for fields, pointer in WRONG_CLAIMS:
        body = {"worker_id": WORKER, "queues": ["*"], "job_types": ["t"], **fields}
        answer = await api.client.post("/v1/leases", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


# --------------------------------------------------------------------------------------------------- heartbeat


async def test_a_heartbeat_renews_tells_and_is_told(api: Api) -> None:
    for _ in range(3):
        await api.submit()
    kept, lost, stopped = await claim(api)
    await end_lease(api, lost)
    await api.client.delete(f"/v1/jobs/{stopped['job']['id']}")
    answer = await heartbeat(
        api, beat(lost), beat(kept, progress=50, message="half", started_seconds_ago=1), beat(stopped, started_seconds_ago=0)
    )
    assert answer["directive"] == "run"
    assert [one["status"] for one in answer["leases"]] == ["lost", "ok", "cancel_requested"]
    assert answer["leases"][0]["lease_expires_at"] is None
    assert answer["leases"][1]["lease_expires_at"] > kept["lease_expires_at"]
    job = await api.job(kept["job"]["id"])
    assert (job.status, job.progress, job.progress_message) == ("running", 50, "half")


async def test_a_first_report_without_a_start_leaves_a_job_leased(api: Api) -> None:
    await api.submit()
    lease = await claim_one(api)
    await heartbeat(api, beat(lease))
    assert (await api.job(lease["job"]["id"])).status == "leased"
    await heartbeat(api, beat(lease, progress=1))
    assert (await api.job(lease["job"]["id"])).status == "running"


async def test_what_is_odd_in_one_lease_costs_the_others_nothing(api: Api) -> None:
    for _ in range(2):
        await api.submit()
    odd, plain = await claim(api)
    answer = await heartbeat(api, beat(odd, progress=1e300, message="x" * 10_000, started_seconds_ago=-1e300), beat(plain))
    assert [one["status"] for one in answer["leases"]] == ["ok", "ok"]
    job = await api.job(odd["job"]["id"])
    assert (job.progress, len(job.progress_message or "")) == (100, 1_000)


async def test_another_tenant_s_token_renews_and_settles_nothing(api: Api) -> None:
    await api.submit()
    lease = await claim_one(api)
    async with await stranger_of(api) as stranger:
        await claim(api, client=stranger)  # makes its worker known
        before = await api.engine.row("lease", UUID(lease["job"]["id"]))
        assert (await heartbeat(api, beat(lease), client=stranger))["leases"][0]["status"] == "lost"
        assert (await settle(api, outcome(lease), client=stranger))[0]["status"] == "lease_lost"
        answer = await stranger.post(f"/v1/jobs/{lease['job']['id']}/complete", json={"lease_token": lease["lease_token"]})
        assert answer.status_code == 404
        assert await api.engine.row("lease", UUID(lease["job"]["id"])) == before
        await settle(api, outcome(lease))
        assert (await settle(api, outcome(lease), client=stranger))[0]["status"] == "lease_lost"


async def test_a_heartbeat_of_a_worker_nobody_knows_is_404(api: Api) -> None:
    answer = await api.client.post("/v1/workers/nobody/heartbeat", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# ------------------------------------------------------------------------------------------------------ settle


OUTCOMES: Sequence[Any] = [
    ("succeeded", {"result": {"n": 1}}, 3, "succeeded"),
    ("failed", {"error": {"type": "E", "message": "m"}}, 3, "failed"),
    ("failed", {}, 1, "dlq"),
    ("failed", {"retry": "never"}, 3, "dlq"),
    ("snoozed", {"delay_seconds": 60}, 1, "scheduled"),
    ("released", {}, 1, "queued"),
    ("cancelled", {}, 3, "cancelled"),
]


async def test_an_outcome_decides_what_follows_and_again_is_replayed(api: Api) -> None:
    for kind, fields, max_attempts, following in OUTCOMES:
        await api.submit(max_attempts=max_attempts)
        lease = await claim_one(api)
        first, again = [await settle(api, outcome(lease, kind, **fields)) for _ in range(2)]
        assert first == [{"job_id": lease["job"]["id"], "status": "settled", "next_status": following}]
        assert again == [{"job_id": lease["job"]["id"], "status": "replayed", "next_status": following}]
        assert (await api.job(lease["job"]["id"])).status == following


async def test_settles_are_answered_each_for_itself_in_order(api: Api) -> None:
    completed, retried, refused = told(api, JobsCompleted), told(api, JobsRetried), told(api, StaleWritesRefused)
    for _ in range(4):
        await api.submit()
    leases = await claim(api)
    await end_lease(api, leases[1])
    results = await settle(
        api,
        outcome(leases[3], "failed", error={"type": "E", "message": "m"}, delay_seconds=60, ran_seconds=2),
        outcome(leases[1]),
        outcome(leases[0], ran_seconds=1),
        outcome(leases[2], "released"),
    )
    assert [(one["job_id"], one["status"], one["next_status"]) for one in results] == [
        (leases[3]["job"]["id"], "settled", "failed"),
        (leases[1]["job"]["id"], "lease_lost", None),
        (leases[0]["job"]["id"], "settled", "succeeded"),
        (leases[2]["job"]["id"], "settled", "queued"),
    ]
    assert (completed, retried, refused) == (
        [JobsCompleted("acme", "succeeded", 1, [1.0])],
        [JobsRetried("acme", 1)],
        [StaleWritesRefused(1)],
    )


async def test_a_plain_success_has_exactly_four_events(api: Api) -> None:
    await api.submit()
    lease = await claim_one(api)
    await post(api, f"/v1/jobs/{lease['job']['id']}/complete", {"lease_token": lease["lease_token"], "result": 1})
    history = (await api.client.get(f"/v1/jobs/{lease['job']['id']}/events")).json()["items"]
    assert [event["type"] for event in history] == ["job.submitted", "job.leased", "job.started", "job.succeeded"]
    assert {event["worker_id"] for event in history[1:]} == {WORKER}


async def test_of_one_job_told_twice_the_first_counts(api: Api) -> None:
    for _ in range(2):
        await api.submit()
    one, other = await claim(api)
    results = await settle(api, outcome(one), outcome(one, "failed"), outcome(other), outcome(one))
    assert [result["status"] for result in results] == ["settled", "lease_lost", "settled", "replayed"]


async def post_raw(api: Api, path: str, body: bytes) -> httpx2.Response:
    return await api.client.post(path, content=body, headers={"Content-Type": "application/json"})


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


UNSTORABLE: Sequence[Any] = [
    b'"a\\u0000b"',
    b'{"k\\u0000": 1}',
    b'"\\ud800"',
    deep(100),
    b"123456789012345678901234567890",
    b'"%s"' % (b"x" * 262_145),
]


async def test_a_result_that_cannot_be_stored_fails_its_own_job_only(api: Api) -> None:
    for result in UNSTORABLE:
        for _ in range(3):
            await api.submit()
        leases = await claim(api)
        parts = [orjson.dumps(outcome(lease, result="RESULT" if n == 1 else {"n": n})) for n, lease in enumerate(leases)]
        body = b'{"outcomes":[' + b",".join(parts).replace(b'"RESULT"', result) + b"]}"
        for status in ("settled", "replayed"):
            answer = await post_raw(api, "/v1/leases/settle", body)
            assert answer.status_code == 200, answer.text
            assert [(one["status"], one["next_status"]) for one in answer.json()["results"]] == [
                (status, "succeeded"),
                (status, "dlq"),
                (status, "succeeded"),
            ]
        error = (await api.job(leases[1]["job"]["id"])).error
        assert error is not None
        assert error.type == "ResultRejected"
        assert (await api.client.get(f"/v1/jobs/{leases[2]['job']['id']}/result")).json()["result"] == {"n": 2}


WRONG_SETTLES: Sequence[Any] = [
    (b'{"outcomes": [', 400),
    (b'{"outcomes": []}', 422),
    (b'{"outcomes": {"a": 1}}', 422),
    (b'{"outcomes": [{"result": NaN}]}', 400),
    (b'{"outcomes": [], "outcomes": []}', 422),
    (b'{"outcomes": [{"job_id": "\\u0000"}]}', 422),
    (b"[" * 100_000, 422),
    (b"null", 422),
]


async def test_a_settle_that_is_wrong_elsewhere_is_refused_whole(api: Api) -> None:
    for body, status in WRONG_SETTLES:
        assert (await post_raw(api, "/v1/leases/settle", body)).status_code == status


async def test_a_settle_over_sixteen_mebibytes_is_413_and_one_below_is_taken(api: Api) -> None:
    for _ in range(64):
        await api.submit()
    leases = await claim(api, max_jobs=64)
    results = await settle(api, *(outcome(lease, result="x" * 200_000) for lease in leases))  # 12 MiB
    assert {result["next_status"] for result in results} == {"succeeded"}
    answer = await post_raw(api, "/v1/leases/settle", b" " * (16 * 1024 * 1024 + 1))
    assert answer.status_code == 413


async def test_an_error_is_cut_and_made_storable(api: Api) -> None:
    await api.submit()
    lease = await claim_one(api)
    error = {"type": "T" * 300, "message": "m" * 3_000, "traceback": "a" * 20_000 + "end"}
    await settle(api, outcome(lease, "failed", retry="never", error=error))
    stored = (await api.job(lease["job"]["id"])).error
    assert stored is not None
    assert stored.traceback is not None
    assert (len(stored.type), len(stored.message), len(stored.traceback), stored.traceback[-3:]) == (200, 2_000, 16_384, "end")


# ----------------------------------------------------------------------------------------------------- one job


async def test_progress_starts_renews_and_tells_of_a_cancel(api: Api) -> None:
    await api.submit()
    lease = await claim_one(api)
    path, body = f"/v1/jobs/{lease['job']['id']}/progress", {"lease_token": lease["lease_token"], "progress": 10, "message": "so far"}
    answer = await post(api, path, body)
    assert (answer["job_id"], answer["status"]) == (lease["job"]["id"], "ok")
    job = await api.job(lease["job"]["id"])
    assert (job.status, job.progress, job.progress_message) == ("running", 10, "so far")
    await api.client.delete(f"/v1/jobs/{job.id}")
    assert (await post(api, path, body))["status"] == "cancel_requested"


ENDS: Sequence[Any] = [
    ("complete", {"result": [1], "ran_seconds": 0.5}, "succeeded"),
    ("complete", {"result": "x" * 262_145}, "dlq"),
    ("fail", {"error": {"type": "E", "message": "m"}, "retry": "never"}, "dlq"),
    ("fail", {}, "failed"),
    ("release", {}, "queued"),
]


async def test_one_job_is_ended_by_itself(api: Api) -> None:
    for verb, fields, following in ENDS:
        await api.submit()
        lease = await claim_one(api)
        path, body = f"/v1/jobs/{lease['job']['id']}/{verb}", {"lease_token": lease["lease_token"], **fields}
        assert (await post(api, path, body))["next_status"] == following
        assert (await post(api, path, body))["status"] == "replayed"
        assert (await api.job(lease["job"]["id"])).attempt == (0 if verb == "release" else 1)


VERBS: Sequence[Any] = ["progress", "complete", "fail", "release"]


async def test_a_lost_lease_is_409_and_an_unknown_job_404(api: Api) -> None:
    for verb in VERBS:
        await api.submit()
        lease = await claim_one(api)
        await end_lease(api, lease)
        body = {"lease_token": lease["lease_token"]}
        answer = await api.client.post(f"/v1/jobs/{lease['job']['id']}/{verb}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
        assert (await api.client.post(f"/v1/jobs/{any_id()}/{verb}", json=body)).status_code == 404
        assert (await api.client.post(f"/v1/jobs/nonsense/{verb}", json=body)).status_code == 404


async def test_a_lost_lease_is_back_in_the_queue_at_once_with_its_attempt(api: Api) -> None:
    await api.submit()
    await end_lease(api, await claim_one(api))
    lease = await claim_one(api)
    assert (lease["attempt"], lease["crashes"]) == (1, 1)


# ----------------------------------------------------------------------------------------------------- workers


async def names(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/v1/workers", params=query)
    assert answer.status_code == 200, answer.text
    return [worker["worker_id"] for worker in answer.json()["items"]]


async def test_a_worker_is_introduced_and_listed_with_what_it_holds(api: Api) -> None:
    answer = await api.client.put(f"/v1/workers/{WORKER}", json=OFFER)
    assert (answer.status_code, answer.json()) == (200, {"heartbeat_seconds": 5 / 3, "lease_seconds": 5})
    await api.submit()
    await claim_one(api)
    (worker,) = (await api.client.get("/v1/workers")).json()["items"]
    assert {name: worker[name] for name in (*OFFER, "worker_id", "running", "directive", "state")} == {
        **OFFER,
        "worker_id": WORKER,
        "running": 1,
        "directive": "run",
        "state": "running",
    }
    async with await stranger_of(api) as stranger:
        assert await names(stranger) == []


async def test_workers_are_paged_by_name(api: Api) -> None:
    for name in "cab":
        await api.client.put(f"/v1/workers/{name}", json=OFFER)
    await api.engine.worker_id("database")
    first = (await api.client.get("/v1/workers", params={"page_size": 3})).json()
    assert [worker["worker_id"] for worker in first["items"]] == ["a", "b", "c"]
    assert await names(api.client, page_size=3, cursor=first["next_cursor"]) == ["database"]
    assert (await api.client.get("/v1/workers", params={"cursor": "!"})).json()["code"] == "cursor_invalid"


async def test_a_worker_that_stopped_or_is_silent_is_not_listed(api: Api) -> None:
    await api.client.put("/v1/workers/gone", json=OFFER)
    await api.client.put("/v1/workers/done", json=OFFER)
    await api.engine.raw.execute("UPDATE jobqueue.worker SET last_heartbeat_at = now() - interval '1 minute' WHERE name = 'gone'")
    await post(api, "/v1/workers/done/heartbeat", {"state": "stopped"})
    assert await names(api.client) == []


@pytest.mark.parametrize("verb", ["quiet", "terminate"])
async def test_an_operator_directs_a_worker_and_its_polls_get_nothing(api: Api, verb: str) -> None:
    await api.client.put(f"/v1/workers/{WORKER}", json=OFFER)
    refused = await api.client.post(f"/v1/workers/{WORKER}/{verb}")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    async with api.as_other(await make_key(api.engine, api.caller, ["operator"])) as operator:
        answer = await operator.post(f"/v1/workers/{WORKER}/{verb}")
        assert (answer.status_code, answer.json()["directive"]) == (200, verb)
        assert (await operator.post(f"/v1/workers/nobody/{verb}")).status_code == 404
    assert (await heartbeat(api))["directive"] == verb
    await api.submit()
    assert await claim(api) == []
    await api.client.put(f"/v1/workers/{WORKER}", json=OFFER)
    assert len(await claim(api)) == 1


async def test_a_malformed_worker_id_is_404(api: Api) -> None:
    assert (await api.client.put("/v1/workers/a b", json=OFFER)).status_code == 404


CALLS: Sequence[Any] = [
    ("PUT", "/v1/workers/w"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/workers/w/heartbeat"),
    ("POST", "/v1/leases"),
    ("POST", "/v1/leases/settle"),
    ("POST", f"/v1/jobs/{UUID(int=0)}/progress"),
    ("POST", f"/v1/jobs/{UUID(int=0)}/complete"),
    ("POST", f"/v1/jobs/{UUID(int=0)}/fail"),
    ("POST", f"/v1/jobs/{UUID(int=0)}/release"),
]


async def test_the_scope_is_work(api: Api) -> None:
    for method, path in CALLS:
        scopes: Sequence[str] = ["jobs:read", "jobs:write", "tenant:admin", "metrics:read"]
        async with api.as_other(await make_key(api.engine, api.caller, scopes)) as client:
            answer = await client.request(method, path, json={})
        assert (answer.status_code, answer.json()["scope"]) == (403, "work")
