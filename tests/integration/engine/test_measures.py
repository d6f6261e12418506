"""The gauges of the whole queue: right figures from one look, one source of them, and the same cost however many jobs are kept."""

import re
from typing import Any
from uuid import UUID, uuid4

from jobqueue.apps.reaper import show_the_whole_queue
from jobqueue.domain.lease import waits_by_queue
from jobqueue.operations import measures, workers
from jobqueue.operations.jobs import Caller
from jobqueue.reaper.keepers import Expirer, Measurer
from jobqueue.reaper.leader import Leader
from jobqueue.telemetry.events import JobsCompleted, Telemetry
from jobqueue.telemetry.labels import OTHER
from jobqueue.telemetry.metrics import Metrics
from tests.engine import FAILURE, Engine, request
from tests.fake_clock import FakeClock

TENANTS = 250


async def test_one_look_counts_the_due_jobs_of_each_tenant_the_statuses_and_the_workers(engine: Engine, acme: Caller) -> None:
    umbrella = await engine.tenant("umbrella")
    await engine.submit_all(acme, [request() for _ in range(5)])
    await engine.submit_all(umbrella, [request(queue="mail"), request(delay_s=3600.0)])
    held, failed = await engine.claim(2, queues=["default"])
    await engine.settle(failed, FAILURE, delay_s=3600.0)
    await engine.start(held)
    await workers.beat(engine.db, await engine.worker_id("second"), state="quiet")
    found = await measures.read(engine.db)
    assert found.depth_by_tenant == {"acme": 3, "umbrella": 1}
    expected = {"queued": 4, "scheduled": 1, "failed": 1, "running": 1, "leased": 0, "dlq": 0, "succeeded": 0}
    assert {status: found.count_by_status[status] for status in expected} == expected
    assert found.workers_by_state == {"running": 1, "quiet": 1}
    assert await measures.depth(engine.db, acme.tenant_id) == 3


async def test_oldest_due_job_of_a_queue_is_that_of_all_tenants_types_and_priorities(engine: Engine, acme: Caller) -> None:
    umbrella = await engine.tenant("umbrella")
    old = await engine.submit(umbrella, "seldom", priority=3)
    await engine.submit_all(acme, [request(), request(priority=0), request("other")])
    young = await engine.submit(acme, queue="mail")
    age = "UPDATE jobqueue.ready SET sort_at = clock_timestamp() - $2 * interval '1 s' WHERE job_id = $1"
    for job_id, age_s in ((old, 500), (young, 100)):
        await engine.raw.execute(age, job_id, age_s)
    ages_s = (await measures.read(engine.db)).oldest_ready_age_s_by_queue
    assert 500 <= ages_s["default"] < 560
    assert 100 <= ages_s["mail"] < 160


async def test_tenants_beyond_those_named_are_counted_together(engine: Engine, acme: Caller, monkeypatch: Any) -> None:
    monkeypatch.setattr(measures, "TENANTS_MAX", 2)
    for number, name in enumerate(("b", "c", "d"), start=2):
        await engine.submit_all(await engine.tenant(name), [request() for _ in range(number)])
    await engine.submit(acme)
    assert (await measures.read(engine.db)).depth_by_tenant == {"d": 4, "c": 3, OTHER: 3}


async def test_at_most_two_hundred_tenants_have_a_series_and_the_sum_is_right(engine: Engine) -> None:
    await engine.raw.execute(
        "INSERT INTO jobqueue.tenant (name, plan) SELECT 'tenant-' || n, 'pro' FROM generate_series(1, $1) n;".replace("$1", str(TENANTS))
    )
    await engine.names.queue_ids(["default"])
    await engine.raw.execute(
        "INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)"
        " SELECT t.tenant_id, q.queue_id, 'queued', 2, 2 FROM jobqueue.tenant t, jobqueue.queue q WHERE q.name = 'default'"
    )
    telemetry, metrics = Telemetry(), Metrics()
    metrics.subscribe_to(telemetry)
    for event in (await measures.read(engine.db)).told():
        telemetry.emit(event)
    page = metrics.render(is_whole=True).decode()
    depths = dict(re.findall(r'^job_queue_depth\{tenant_id="(.*)"\} (.*)$', page, re.MULTILINE))
    assert len(depths) == 201
    assert sum(map(float, depths.values())) == 2 * TENANTS
    assert float(depths[OTHER]) == 2 * (TENANTS - 200)


class Reaper:
    """One reaper's part of the metrics."""

    def __init__(self, engine: Engine, clock: FakeClock, holder: UUID) -> None:
        self.telemetry, self.metrics = Telemetry(), Metrics()
        self.metrics.subscribe_to(self.telemetry)
        self.leader = Leader(engine.db, holder=holder, clock=clock, on_fault=print, emit=self.telemetry.emit)
        self.measurer = Measurer(engine.db, self.leader, clock=clock, on_fault=print, emit=self.telemetry.emit)
        show_the_whole_queue(self.telemetry, self.metrics, self.leader)

    async def tick(self) -> None:
        await self.leader.tick()
        await self.measurer.tick()

    def page(self) -> str:
        return self.metrics.render().decode()


async def test_when_leadership_moves_the_gauges_move_with_it(engine: Engine, acme: Caller) -> None:
    clocks = FakeClock(), FakeClock()
    one, two = (Reaper(engine, clock, uuid4()) for clock in clocks)
    await engine.submit(acme)
    await one.tick()
    await two.tick()
    assert 'job_queue_depth{tenant_id="acme"} 1.0' in one.page()
    assert "reaper_is_leader 1.0" in one.page()
    assert "job_queue_depth{" not in two.page()
    assert "reaper_is_leader 0.0" in two.page()
    await clocks[0].advance(9.5)  # it does not believe in its term any more
    assert "job_queue_depth" not in one.page()
    await engine.raw.execute("UPDATE jobqueue.leader SET expires_at = '-infinity'")
    await two.leader.tick()
    assert "job_queue_depth{" not in two.page(), "nothing is shown before it was measured"
    await two.measurer.tick()
    assert 'job_queue_depth{tenant_id="acme"} 1.0' in two.page()
    await one.tick()
    assert "job_queue_depth" not in one.page()


async def test_where_a_look_takes_long_looks_are_rarer(engine: Engine, clock: FakeClock, monkeypatch: Any) -> None:
    reaper = Reaper(engine, clock, uuid4())
    await reaper.leader.tick()
    assert await reaper.measurer.tick() == 5.0
    read = measures.read

    async def slow(db: Any) -> Any:
        await clock.advance(2.0)
        return await read(db)

    monkeypatch.setattr(measures, "read", slow)
    await reaper.leader.tick()
    assert await reaper.measurer.tick() == 40.0


async def test_jobs_that_expired_are_told_by_tenant(engine: Engine, acme: Caller, clock: FakeClock) -> None:
    told: list[Any] = []
    leader = Leader(engine.db, holder=uuid4(), clock=clock, on_fault=print, emit=told.append)
    await leader.tick()
    umbrella = await engine.tenant("umbrella")
    for caller in (acme, acme, umbrella):
        await engine.submit(caller, expires_in_s=1e-6)
    await Expirer(engine.db, leader, clock=clock, on_fault=print, emit=told.append).tick()
    assert {event.tenant_id: event.count for event in told if isinstance(event, JobsCompleted)} == {"acme": 2, "umbrella": 1}


async def test_claim_says_how_long_each_job_had_been_due(engine: Engine, acme: Caller) -> None:
    old = await engine.submit(acme)
    await engine.raw.execute("UPDATE jobqueue.ready SET sort_at = clock_timestamp() - interval '90 s' WHERE job_id = $1", old)
    await engine.submit(acme, queue="mail")
    waits_s = waits_by_queue(await engine.claim())
    assert 90 <= waits_s["default"][0] < 120
    assert 0 <= waits_s["mail"][0] < 60
