"""The short form of `make faults`: everything breaks for half a minute, then all that was accepted has to come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.play import play_on_own_server
from tests.faults.scenarios import SCENARIOS

SEED = 3
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


async def test_nothing_is_lost_and_nothing_runs_twice_at_once_while_everything_breaks(tmp_path: Path) -> None:
    scenario = SCENARIOS["short"]
    report = await play_on_own_server(scenario, tmp_path, seed=SEED)
    text = (tmp_path / "report.txt").read_text()
    assert report["verdict"] == "passed", text
    assert scenario.passes(report) == [], text
