"""The database's figures: an old transaction, dead rows, sizes; told by readiness and as metrics."""

from typing import Any
from uuid import uuid4

from jobqueue.operations import health, server
from jobqueue.operations.health import DatabaseHealth
from jobqueue.operations.jobs import Caller
from jobqueue.operations.readiness import HEALTH_S, ReadinessProbe
from jobqueue.reaper.keepers import HealthKeeper
from jobqueue.reaper.leader import Leader
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.metrics import Metrics
from tests.engine import Engine, request
from tests.fake_clock import FakeClock


def ill(**figures: Any) -> DatabaseHealth:
    return DatabaseHealth(
        **{"oldest_transaction_s": 0.0, "notify_queue_ratio": 0.0, "table_bytes": 0, "index_bytes": 0, "dead_rows": {}, **figures}
    )


async def test_what_holds_vacuum_up_and_what_it_left_are_seen(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request() for _ in range(20)])
    for lease in await engine.claim():
        await engine.settle(lease)
    await engine.raw.execute("BEGIN; SELECT pg_stat_force_next_flush(); SELECT pg_sleep(0.05)")
    found = await health.read(engine.db)
    await engine.raw.execute("COMMIT")
    assert found.oldest_transaction_s >= 0.05
    assert found.index_bytes > 100_000
    assert found.table_bytes > 100_000
    assert {"ready", "lease", "tally", "inbox", "idempotency"} <= set(found.dead_rows)
    assert 0 <= found.notify_queue_ratio < 0.5
    assert found.warnings == {}


def test_only_what_needs_somebody_is_warned_of() -> None:
    assert set(ill(oldest_transaction_s=3_601.0).warnings) == {"oldest_transaction"}
    assert set(ill(notify_queue_ratio=0.51).warnings) == {"notify_queue"}
    assert ill(oldest_transaction_s=3_599.0, notify_queue_ratio=0.49, dead_rows={"ready": 10**9}).warnings == {}


async def test_readiness_shows_the_figures_and_looks_again_only_after_a_while(engine: Engine, clock: FakeClock) -> None:
    probe = ReadinessProbe(engine.db, needed=server.SCHEMA_NEEDED, is_draining=lambda: False, clock=clock)
    first = await probe.ask()
    assert set(first.figures) == set(ill().figures)
    assert first.is_ready
    await engine.raw.execute("CREATE TABLE jobqueue.more (n) AS SELECT generate_series(1, 100000)")
    await clock.advance(2.0)
    assert (await probe.ask()).figures == first.figures
    await clock.advance(HEALTH_S)
    assert (await probe.ask()).figures["table_bytes"] > first.figures["table_bytes"]


async def test_the_leader_measures_it_for_the_metrics(engine: Engine, clock: FakeClock) -> None:
    telemetry, metrics = Telemetry(), Metrics()
    metrics.subscribe_to(telemetry)
    metrics.watch_leader(lambda: True)
    leader = Leader(engine.db, holder=uuid4(), clock=clock, on_fault=print, emit=lambda _: None)
    keeper = HealthKeeper(engine.db, leader, clock=clock, on_fault=print, emit=telemetry.emit)
    await keeper.tick()
    assert b"database_index_bytes" not in metrics.render()
    await leader.tick()
    await keeper.tick()
    text = metrics.render()
    for name in (
        b"database_oldest_transaction_seconds",
        b"database_notify_queue_ratio",
        b"database_connections_max",
        b"database_table_bytes",
        b'dead_rows{table="ready"}',
    ):
        assert name in text
