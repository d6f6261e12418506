"""The short forms of the programs here."""

import pytest

from tests.live import cycles, held

pytestmark = pytest.mark.slow


async def test_streams_that_break_off_are_told_the_whole_history_once() -> None:
    report = await cycles.run(cycles=3, sockets=20, seed=7, writers=3)
    assert report["verdict"] == "passed", report


async def test_open_transactions_of_others_delay_no_event_and_lose_none() -> None:
    report = await held.run(seconds=2)
    assert report["none_missing"], report
    assert report["job_of_the_held_transaction_told"], report
    assert report["reach_s_max"] < float("inf"), report
