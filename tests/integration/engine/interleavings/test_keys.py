"""Jobs of one concurrency key: a settle that lets the next one in, and a claim beside it."""

from jobqueue.operations import leases
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, outcome, request, settlement
from tests.integration.engine.interleavings.steps import first


async def test_settle_of_a_key_holds_its_claims_off_and_never_over_its_limit(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key="k")] * 3)
    lease = await engine.claim_one()
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        assert await settling.meet(engine.claim, waits=False) == []
    assert len(await engine.claim()) == 1
    await engine.check_counts()


async def test_claim_beside_a_settle_of_the_key_parks_nothing_that_the_settle_would_have_let_in(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, concurrency_key="k")
    lease = await engine.claim_one()
    await engine.submit(acme, concurrency_key="k")  # due, not parked: nobody has looked at it yet
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        assert await settling.meet(engine.claim, waits=False) == []
    assert len(await engine.claim()) == 1
