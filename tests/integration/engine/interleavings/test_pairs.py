"""Every pair of transitions that can meet on one job does, both ways the first can end; docs/interleavings.md says what follows."""

from itertools import product
from typing import Any

import pytest

from jobqueue.domain.errors import NotFound
from tests.engine import Engine
from tests.integration.engine.interleavings import pairs
from tests.integration.engine.interleavings.acts import ACTS, GROUNDS, VERBS, Ground, arrange, tried
from tests.integration.engine.interleavings.conftest import empty
from tests.integration.engine.interleavings.pairs import After, Meeting
from tests.integration.engine.interleavings.steps import held_open

MEETINGS = pairs.meetings()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("meeting", MEETINGS, ids=str)
async def test_pair(warm_engine: Engine, first_connection: Any, meeting: Meeting) -> None:
    for commits, after in ((True, meeting.committed), (False, meeting.rolled_back)):
        await empty(warm_engine)
        ground = await arrange(meeting.start, warm_engine, await warm_engine.tenant())
        async with held_open(warm_engine, first_connection) as first:
            assert await tried(meeting.first, ground, first.db) == meeting.first_says
            says = await first.meet(lambda: tried(meeting.second, ground, warm_engine.db), waits=meeting.waits, commits=commits)  # noqa: B023
        assert After(says, *await standing(ground)) == after
        await warm_engine.check_counts()
        assert not await warm_engine.raw.fetch(KEYS_OVER_THEIR_LIMIT)


KEYS_OVER_THEIR_LIMIT = """
SELECT l.key_id
FROM jobqueue.lease l
WHERE l.key_id IS NOT NULL
GROUP BY l.key_id, l.tenant_id, l.queue_id
HAVING count(*) > coalesce(
  (SELECT s.key_max_concurrent FROM jobqueue.tenant_queue s WHERE s.tenant_id = l.tenant_id AND s.queue_id = l.queue_id), 1)
"""


async def standing(ground: Ground) -> tuple[str, tuple[str, ...]]:
    """What the job is now, and the events that were added since the meeting began."""
    try:
        history = await ground.engine.history(ground.caller, ground.job)
        status = await ground.engine.status(ground.caller, ground.job)
    except NotFound:
        return "none", ()
    assert history[: len(ground.told)] == ground.told
    return status.value, tuple(history[len(ground.told) :])


# --------------------------------------------------------------------------------------------- the document


def verb(act: str) -> str:
    return ACTS[act][0]


def test_table_says_of_every_pair_how_it_meets_or_why_it_cannot() -> None:
    met = {(verb(meeting.first), verb(meeting.second)) for meeting in MEETINGS}
    excused = [pair for firsts, seconds, _ in pairs.apart() for pair in product(firsts, seconds)]
    assert len(excused) == len(set(excused)), "a pair is excused twice"
    assert not met & set(excused), "a pair that meets is excused"
    assert met | set(excused) == set(product(VERBS, VERBS))
    assert all(len(why) > 20 for _, _, why in pairs.apart())


def test_table_names_each_meeting_once_and_uses_every_act_and_ground() -> None:
    assert len({str(meeting) for meeting in MEETINGS}) == len(MEETINGS)
    assert {meeting.first for meeting in MEETINGS} | {meeting.second for meeting in MEETINGS} == set(ACTS)
    assert {meeting.start for meeting in MEETINGS} == set(GROUNDS)
