"""Webhooks from the history to the receiver: each event once or more, none passed over, whoever dies."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from jobqueue.domain.lifecycle import Status
from jobqueue.domain.webhook import ATTEMPTS_MAX, FAILING_S_MAX, PAUSED_AFTER, delivery_id
from jobqueue.operations import webhook_delivery as operations
from jobqueue.operations.jobs import Caller
from jobqueue.operations.webhook_delivery import WALK_START, FanOut
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.store import webhooks as store
from tests.engine import FAILURE, Engine, open_engine, request
from tests.webhooks.receiver import receiving
from tests.webhooks.stepping import WRITTEN, Webhooks

NOWHERE = "http://127.0.0.1:9/hook"
PLAIN = ["job.submitted", "job.leased", "job.started", "job.succeeded"]


@pytest.fixture
def webhooks(engine: Engine) -> Webhooks:
    return Webhooks(engine)


# ----------------------------------------------------------------------------------------------------------- fan-out


async def test_every_event_of_a_job_becomes_a_delivery_in_order(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    webhook_id = await webhooks.make(acme, NOWHERE)
    job_id = await engine.succeeded(acme)
    assert await webhooks.settle() == 4
    rows = await webhooks.rows()
    assert [row["type"] for row in rows] == PLAIN
    assert {(row["webhook_id"], row["job_id"], row["status"], row["attempts"]) for row in rows} == {(webhook_id, job_id, "pending", 0)}
    told = [json.loads(row["body"]) for row in rows]
    assert [one["data"]["job"]["status"] for one in told] == ["queued", "leased", "running", "succeeded"]
    assert {one["data"]["job"]["tenant_id"] for one in told} == {"acme"}


async def test_endpoint_is_told_what_its_filter_wants_and_only_of_its_tenant(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    await webhooks.make(acme, NOWHERE, event_types=["job.dlq"], queues=["mails"])
    await webhooks.make(other, NOWHERE, job_types=["x"])
    buried = await engine.dlq(acme, queue="mails")
    await engine.dlq(acme)
    await engine.succeeded(acme, queue="mails")
    await engine.succeeded(other)
    assert await webhooks.settle() == 1
    assert [(row["type"], row["job_id"]) for row in await webhooks.rows()] == [("job.dlq", buried)]


async def test_history_before_an_endpoint_is_not_told(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    await engine.succeeded(acme)
    await webhooks.make(acme, NOWHERE)
    await engine.submit(acme)
    await webhooks.settle()
    assert [row["type"] for row in await webhooks.rows()] == ["job.submitted"]


async def test_event_that_commits_late_is_not_passed_over(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    """Its number is smaller than those of events that are told before it."""
    await webhooks.make(acme, NOWHERE)
    job_id = await engine.submit(acme)
    await webhooks.settle()
    late = await engine.connect()
    try:
        transaction = late.transaction()
        await transaction.start()
        await late.execute("INSERT INTO jobqueue.event (tenant_id, job_id, type) VALUES ($1, $2, 'cancelled')", acme.tenant_id, job_id)
        await engine.submit(acme)
        for _ in range(5):
            step = await webhooks.fan_out.step()
        assert step.is_waiting
        assert len(await webhooks.rows()) == 1
        await transaction.commit()
    finally:
        late.terminate()
    await webhooks.settle()
    assert [row["type"] for row in await webhooks.rows()] == ["job.submitted", "job.cancelled", "job.submitted"]


async def test_numbers_that_were_left_out_after_a_restore_are_passed_over_at_once(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    await webhooks.make(acme, NOWHERE)
    await engine.raw.execute("SELECT setval('jobqueue.event_seq', (SELECT last_value FROM jobqueue.event_seq) + 10000000000)")
    await engine.submit(acme)
    steps = 0
    while not await webhooks.rows():
        await webhooks.fan_out.step()
        steps += 1
        assert steps < 100


async def test_two_that_make_deliveries_at_once_make_each_of_them_once(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    await webhooks.make(acme, NOWHERE)
    await engine.submit_all(acme, [request() for _ in range(1_200)])
    others = [FanOut(engine.db, clock=engine.clock) for _ in range(2)]

    async def make(fan_out: FanOut) -> int:
        return sum([(await fan_out.step()).deliveries for _ in range(20)])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(one)) for one in others]
    assert sum(task.result() for task in tasks) == 1_200
    assert len(await webhooks.rows()) == 1_200


async def test_one_that_dies_before_its_commit_leaves_cursor_and_deliveries_as_they_were(
    webhooks: Webhooks, engine: Engine, acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await webhooks.make(acme, NOWHERE)
    await engine.submit(acme)
    before = await engine.raw.fetchval("SELECT seq FROM jobqueue.webhook_cursor")

    async def die(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(store, "move_cursor", die)
        with pytest.raises(RuntimeError):
            await webhooks.settle()
    assert await webhooks.rows() == []
    assert await engine.raw.fetchval("SELECT seq FROM jobqueue.webhook_cursor") == before
    assert await webhooks.settle() == 1


async def test_one_that_freezes_in_the_middle_lets_go_of_the_cursor(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    from jobqueue.store.statements import statement

    await webhooks.make(acme, NOWHERE)
    await engine.submit(acme)
    frozen = await engine.connect()
    ended = asyncio.Event()
    frozen.add_termination_listener(lambda _: ended.set())
    try:
        await frozen.execute("BEGIN")
        await frozen.fetch(statement("webhooks/lock_cursor").text, 200)
        async with asyncio.timeout(30):
            await ended.wait()
        assert await webhooks.settle() == 1
    finally:
        frozen.terminate()


async def test_disabled_endpoint_gets_deliveries_that_are_not_sent(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    webhook_id = await webhooks.make(acme, NOWHERE)
    await store.change(engine.db, acme.tenant_id, webhook_id, is_active=False)
    await engine.submit(acme)
    await webhooks.settle()
    assert [row["status"] for row in await webhooks.rows()] == ["skipped"]
    assert await webhooks.send() == []


# ----------------------------------------------------------------------------------------------------------- sending


async def test_receiver_verifies_what_it_gets_and_the_row_says_what_it_answered(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving(secret=WRITTEN, says=lambda got: 201) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        await engine.succeeded(acme)
        await webhooks.settle()
        assert await webhooks.send_all() == 4
    rows = await webhooks.rows()
    assert receiver.refused == 0
    assert receiver.ids == [str(delivery_id(webhook_id, row["seq"])) for row in rows]
    assert [got.body["type"] for got in receiver.got] == PLAIN
    assert {(row["status"], row["answer_status"], row["answer_excerpt"], row["attempts"], row["error"]) for row in rows} == {
        ("delivered", 201, "said", 1, None)
    }
    assert all(row["tried_at"] is not None and row["answer_s"] > 0 for row in rows)


async def test_old_secret_signs_beside_the_new_one_until_its_grace_is_over(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving(secret=WRITTEN) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        await store.rotate(engine.db, acme.tenant_id, webhook_id, secret_sealed=webhooks.box.seal(b"\x08" * 32), grace_s=3600)
        await engine.submit(acme)
        await webhooks.settle()
        assert await webhooks.send() == [204]
        assert len(receiver.got[0].headers["webhook-signature"].split()) == 2
        await engine.submit(acme)
        await webhooks.settle()
        assert await webhooks.send(now=await engine.later(3700)) == [400]
        assert receiver.refused == 1


async def test_secret_that_cannot_be_opened_fails_the_try_and_says_so(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving() as receiver:
        await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        webhooks.box = SecretBox(["another secret of at least thirty-two bytes"])
        assert await webhooks.send() == [None]
    assert receiver.got == []
    assert "JOBQUEUE_API_SECRET_KEY" in (await webhooks.rows())[0]["error"]


async def test_receiver_that_fails_for_an_hour_gets_everything(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    is_down = True
    async with receiving(secret=WRITTEN, says=lambda got: 503 if is_down else 204) as receiver:
        await webhooks.make(acme, receiver.url)
        jobs = [await engine.succeeded(acme) for _ in range(10)]
        await webhooks.settle()
        start, passed_s = await engine.now(), 0.0
        while passed_s < 3600:
            await webhooks.send_all(now=start + timedelta(seconds=passed_s))
            passed_s += 60
        failed = len(receiver.got)
        assert failed > 20
        assert {row["status"] for row in await webhooks.rows()} == {"pending"}
        is_down = False
        while passed_s < 4 * 3600:
            await webhooks.send_all(now=start + timedelta(seconds=passed_s))
            passed_s += 600
    rows = await webhooks.rows()
    assert {row["status"] for row in rows} == {"delivered"}
    assert len(rows) == len(receiver.got[failed:]) == len(set(receiver.ids[failed:])) == 40
    assert {UUID(got.body["data"]["job"]["id"]) for got in receiver.got[failed:]} == set(jobs)
    assert max(row["tried_at"] for row in rows) < start + timedelta(seconds=3 * 3600)


async def test_delivery_that_never_gets_through_is_given_up_and_sent_by_a_replay(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    from jobqueue.store import webhook_deliveries as deliveries

    async with receiving(says=lambda got: 500) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        for _ in range(ATTEMPTS_MAX):
            (row,) = await webhooks.rows()
            assert await webhooks.send(now=row["next_at"]) == [500]
        (row,) = await webhooks.rows()
        assert (row["status"], row["attempts"], row["next_at"], row["error"]) == ("failed", ATTEMPTS_MAX, None, "the answer is 500")
        assert len(set(receiver.ids)) == 1
        await store.change(engine.db, acme.tenant_id, webhook_id, is_active=True)
        receiver.says = lambda got: 204
        assert await deliveries.replay(engine.db, acme.tenant_id, webhook_id, row["seq"], now=None) is not None
        assert await webhooks.send() == [204]
    assert len(set(receiver.ids)) == 1
    assert len(receiver.ids) == ATTEMPTS_MAX + 1


async def test_receiver_that_dies_between_its_commit_and_its_answer_sees_the_same_id_again(
    webhooks: Webhooks, engine: Engine, acme: Caller
) -> None:
    committed: list[str] = []

    async def commit_and_die(got: Any) -> int:
        committed.append(got.id)
        raise ConnectionResetError

    async with receiving(secret=WRITTEN, says=commit_and_die) as receiver:
        await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        assert await webhooks.send() == [None]
        receiver.says = lambda got: 204
        assert await webhooks.send(now=await engine.later(10)) == [204]
    assert receiver.ids == [committed[0]] * 2
    assert receiver.got[0].body == receiver.got[1].body


async def test_claim_of_a_process_that_died_is_due_again_and_its_late_result_changes_nothing(
    webhooks: Webhooks, engine: Engine, acme: Caller
) -> None:
    from jobqueue.domain.webhook import Answer
    from jobqueue.operations.webhook_delivery import Tried

    async with receiving() as receiver:
        await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        (lost,) = await operations.claim(engine.db, webhooks.box, {}, endpoint_max=10, limit=10, claim_s=25)
        assert await webhooks.send() == []
        later = await engine.later(26)
        assert await webhooks.send(now=later) == [204]
        await operations.record(engine.db, [Tried(lost, Answer(500), 0.5)])
        (row,) = await webhooks.rows()
        assert (row["status"], row["answer_status"], row["attempts"]) == ("delivered", 204, 2)


async def test_gone_disables_the_endpoint_at_once(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving(says=lambda got: 410) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        assert await webhooks.send() == [410]
    row = await webhooks.endpoint(webhook_id)
    assert (row["state"], row["disabled_reason"]) == ("disabled", "gone")
    assert [(one.webhook_id, one.tenant, one.reason) for one in webhooks.told] == [(webhook_id, "acme", "gone")]


async def test_endpoint_that_took_nothing_for_days_is_disabled_and_its_deliveries_wait(
    webhooks: Webhooks, engine: Engine, acme: Caller
) -> None:
    async with receiving(says=lambda got: 500) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        for age_s in (0, FAILING_S_MAX / 2, FAILING_S_MAX - 60):
            await engine.submit(acme)
            await webhooks.settle()
            await webhooks.send(now=await engine.later(age_s))
            assert (await webhooks.endpoint(webhook_id))["state"] == "active"
        await webhooks.send(now=await engine.later(FAILING_S_MAX + 60))
        row = await webhooks.endpoint(webhook_id)
        assert (row["state"], row["disabled_reason"]) == ("disabled", "failing")
        assert {row["status"] for row in await webhooks.rows()} == {"pending"}
        await store.change(engine.db, acme.tenant_id, webhook_id, is_active=True)
        receiver.says = lambda got: 204
        assert await webhooks.send(now=await engine.later(2 * FAILING_S_MAX)) == [204] * 3


async def test_one_success_ends_what_failed_before_it(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving(says=lambda got: 500) as receiver:
        webhook_id = await webhooks.make(acme, receiver.url)
        await engine.submit_all(acme, [request() for _ in range(4)])
        await webhooks.settle()
        await webhooks.send()
        assert (await webhooks.endpoint(webhook_id))["failures_in_row"] == 4
        receiver.says = lambda got: 204
        await webhooks.send(now=await engine.later(100))
        row = await webhooks.endpoint(webhook_id)
        assert (row["failures_in_row"], row["failing_since"], row["resume_at"]) == (0, None, None)


async def test_dead_endpoint_is_only_probed(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    webhook_id = await webhooks.make(acme, NOWHERE)
    await engine.submit_all(acme, [request() for _ in range(50)])
    await webhooks.settle()
    assert len(await webhooks.send()) == PAUSED_AFTER
    assert await webhooks.send() == [], "paused"
    assert len(await webhooks.send(now=await engine.later(2))) == 1
    assert (await webhooks.endpoint(webhook_id))["failures_in_row"] == PAUSED_AFTER + 1


async def test_endpoint_with_its_fill_under_way_leaves_the_room_to_others(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    slow, quick = await webhooks.make(acme, NOWHERE, queues=["slow"]), await webhooks.make(acme, NOWHERE, queues=["quick"])
    await engine.submit_all(acme, [request(queue=queue) for queue in ("slow", "quick") for _ in range(30)])
    await webhooks.settle()
    claimed = await operations.claim(engine.db, webhooks.box, {slow: 8}, endpoint_max=10, limit=100, claim_s=25)
    assert [one.webhook_id for one in claimed].count(slow) == 2
    assert [one.webhook_id for one in claimed].count(quick) == 10


async def test_what_one_has_taken_another_does_not_take(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    await webhooks.make(acme, NOWHERE)
    await engine.submit_all(acme, [request() for _ in range(15)])
    await webhooks.settle()

    async def claim() -> list[int]:
        return [one.seq for one in await operations.claim(engine.db, webhooks.box, {}, endpoint_max=10, limit=100, claim_s=25)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(claim()) for _ in range(4)]
    taken = [seq for task in tasks for seq in task.result()]
    assert len(taken) == len(set(taken))
    assert len(taken) >= 10


async def test_redirect_is_a_failure_that_is_not_followed(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    async with receiving() as other, receiving(says=lambda got: (302, {"location": other.url})) as receiver:
        await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        assert await webhooks.send() == [302]
    assert other.got == []
    assert "redirects are not followed" in (await webhooks.rows())[0]["error"]


# ----------------------------------------------------------------------------------------------------------- upkeep


async def test_old_deliveries_and_those_of_a_deleted_endpoint_are_swept_and_what_waits_is_not(
    webhooks: Webhooks, engine: Engine, acme: Caller
) -> None:
    async with receiving() as receiver:
        kept = await webhooks.make(acme, receiver.url)
        await engine.submit(acme)
        await webhooks.settle()
        await webhooks.send()
        await engine.submit(acme)
        await webhooks.settle()
    gone = await webhooks.make(acme, NOWHERE)
    await engine.submit(acme)
    await webhooks.settle()
    assert await store.delete(engine.db, acme.tenant_id, gone)
    page = await operations.sweep(engine.db, after=WALK_START, kept_s=7 * 86_400)
    assert page is not None
    assert page[1] == 1
    await operations.sweep(engine.db, after=WALK_START, kept_s=7 * 86_400, now=await engine.later(8 * 86_400))
    assert [(row["webhook_id"], row["status"]) for row in await webhooks.rows()] == [(kept, "pending")] * 2
    assert await operations.sweep(engine.db, after=page[0], kept_s=1) is None


async def test_secrets_are_sealed_anew_when_the_key_changes_and_the_database_has_none_in_clear(
    webhooks: Webhooks, engine: Engine, acme: Caller
) -> None:
    webhook_id = await webhooks.make(acme, NOWHERE)
    await store.rotate(engine.db, acme.tenant_id, webhook_id, secret_sealed=webhooks.box.seal(b"\x09" * 32), grace_s=3600)
    new_key = "a new secret of at least thirty-two bytes"
    both = SecretBox([new_key, "a secret of at least thirty-two bytes"])
    assert await operations.keep_secrets(engine.db, both) == 1
    assert await operations.keep_secrets(engine.db, both) == 0
    row = await webhooks.endpoint(webhook_id)
    assert SecretBox([new_key]).open(row["secret_sealed"]) == b"\x09" * 32
    assert SecretBox([new_key]).open(row["previous_sealed"]) == b"\x07" * 32
    assert WRITTEN not in str(dict(row))
    assert await store.forget_previous(engine.db, now=await engine.later(3601)) == 1
    assert (await webhooks.endpoint(webhook_id))["previous_sealed"] is None


async def test_jobs_go_on_as_before_while_deliveries_wait(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    await webhooks.make(acme, NOWHERE)
    job_id = await engine.succeeded(acme)
    assert await engine.status(acme, job_id) is Status.SUCCEEDED
    await engine.dlq(acme)
    retried = await engine.submit(acme)
    await engine.settle(await engine.claim_one(), FAILURE)
    assert await engine.status(acme, retried) is Status.FAILED
    await engine.check_counts()


async def test_deliveries_are_claimed_recorded_listed_and_swept_by_index(webhooks: Webhooks, engine: Engine, acme: Caller) -> None:
    from jobqueue.domain.webhook import Answer
    from jobqueue.operations.webhook_delivery import Tried
    from jobqueue.store import webhook_deliveries as deliveries
    from tests.integration.engine.test_plans import telling

    webhook_id = await webhooks.make(acme, NOWHERE)
    await engine.raw.execute(
        "INSERT INTO jobqueue.webhook_delivery (webhook_id, seq, tenant_id, type, event_at, body, status, next_at)"
        " SELECT $1, n, $2, 'job.queued', clock_timestamp(), '{}', CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'delivered' END,"
        " CASE WHEN n % 10 = 0 THEN clock_timestamp() END FROM generate_series(1, 20000) n",
        webhook_id,
        acme.tenant_id,
    )
    await engine.raw.execute("VACUUM ANALYZE jobqueue.webhook_delivery")
    filters = {"statuses": ["pending"], "types": None, "job_id": None, "after": None, "until": None}
    async with open_engine(engine.dsn) as watched, telling(watched) as plans:
        claimed = await operations.claim(watched.db, webhooks.box, {}, endpoint_max=10, limit=400, claim_s=25)
        await operations.record(watched.db, [Tried(one, Answer(204), 0.5) for one in claimed])
        assert len(claimed) == 10
        await deliveries.page(watched.db, acme.tenant_id, webhook_id, before_seq=None, rows_max=1_000, limit=50, filters=filters)
        await operations.sweep(watched.db, after=WALK_START, kept_s=86_400)
        nodes = [node for node in plans.nodes() if node.table == "webhook_delivery"]
    assert {node.index for node in nodes if node.index} >= {"webhook_delivery_due", "webhook_delivery_pkey"}
    assert [node for node in nodes if node.kind == "Seq Scan" and node.rows > 0] == []
    assert sum(node.rows for node in nodes) < 5_000
