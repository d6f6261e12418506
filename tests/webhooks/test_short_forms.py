"""The program of this folder, in short form."""

import pytest

from tests.webhooks import flood

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # its parts have bounds of their own


async def test_every_event_comes_to_every_endpoint_that_wants_it_although_the_reaper_that_delivers_dies() -> None:
    report = await flood.run(events=90, rate=90, endpoints=5, wanted=2, kills=1, gap_s=1.0, is_term_cut=True, events_killed=90)
    assert report["kills"] == 1
    assert (report["missing"], report["under_two_ids"], report["refused_signatures"]) == (0, 0, 0), report
    assert report["expected"] == 360, report
    assert report["deliveries_measured"] > 0, report
