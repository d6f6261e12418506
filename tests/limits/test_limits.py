"""The programs of this folder, in short form."""

from pathlib import Path

from tests.limits import rate


async def test_the_rate_holds_over_three_processes_and_its_refusals_name_the_moment(database: str, tmp_path: Path) -> None:
    tally = await rate.run(database, tmp_path, seconds=4, per_minute=120)
    tally.check(120)
