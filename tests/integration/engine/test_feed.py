"""The feed's tailer, tick by tick."""

from collections.abc import Sequence

from jobqueue.domain.feed import FeedEvent
from jobqueue.operations.feed import FeedTailer
from jobqueue.telemetry.events import Telemetry
from tests.engine import Engine


async def test_tenant_that_left_has_no_position_while_a_tick_reads_for_others_only(engine: Engine) -> None:
    """A stream that joined in such a tick would be given a position behind which its events were passed over."""
    left, stays = await engine.tenant("left"), await engine.tenant("stays")
    watched = {left.tenant_id, stays.tenant_id}
    covered: list[bool] = []

    def deliver(events: Sequence[FeedEvent]) -> None:
        covered.append(left.tenant_id in tailer._covering)

    tailer = FeedTailer(
        engine.db, watched=lambda: set(watched), deliver=deliver, restarted=lambda: None, clock=engine.clock, telemetry=Telemetry()
    )
    await tailer.tick()
    await engine.submit(stays)
    while not covered:
        await tailer.tick()
    watched.remove(left.tenant_id)
    await engine.submit(stays)
    while len(covered) < 2:
        await tailer.tick()
    assert covered == [True, False]
