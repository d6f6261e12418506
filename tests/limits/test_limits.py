"""The programs of this folder, in short form."""

from pathlib import Path

from tests.engine import open_engine
from tests.limits import caps, rate, turns


async def test_the_rate_holds_over_three_processes_and_its_refusals_name_the_moment(database: str, tmp_path: Path) -> None:
    tally = await rate.run(database, tmp_path, seconds=4, per_minute=120)
    tally.check(120)


async def test_no_cap_is_passed_while_workers_die(database: str, tmp_path: Path) -> None:
    verdict = await caps.run(database, tmp_path, seconds=5, has_kills=True, workers=2)
    assert verdict.over() == {}
    assert verdict.kills > 0
    assert any(most == cap for most, cap in verdict.highest.values()), "no cap was reached, so nothing was tried"


async def test_weights_are_held_over_several_claimers(database: str) -> None:
    async with open_engine(database) as engine:
        off = await turns.shares(engine)  # of fewer jobs a turn more or less would decide
    assert max(map(abs, off.values())) <= turns.SHARE_OFF_MAX, off
