"""Whose turn it is, and how much of it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.domain.rotation import (
    DISCOVERY_S,
    DISCOVERY_SHARE,
    EMPTY_MAX,
    FLOOR_S_MAX,
    LANES_MAX,
    LANES_PER_CLAIM,
    TENANTS_PER_CLAIM,
    Lane,
    Rotation,
    Turn,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
NORMAL, CRITICAL = 2, 0


def lane(tenant: int, *, queue: int = 1, job_type: int = 1, band: int = NORMAL) -> Lane:
    return (tenant, queue, job_type, band)


def rotation(*weighted: tuple[Lane, int]) -> Rotation:
    made = Rotation()
    made.discovered(weighted, now_s=0.0, took_s=0.0)
    return made


def take_all(made: Rotation, turn: Turn, *, low: int = 7) -> Counter[int]:
    """Answer a turn as a database would that never runs dry; of each tenant's lanes the first."""
    rows = []
    for tenant, take in zip(turn.tenants, turn.takes, strict=True):
        first = next(name for name in turn.lanes if name[0] == tenant)
        rows.append((first, take, AT, low))
    made.claimed(turn, rows)
    return Counter({row[0][0]: row[1] for row in rows})


# ------------------------------------------------------------------------------------------------------- turns


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=40),
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=30),
    dry=st.sets(st.integers(0, 40)),
)
@settings(deadline=None)
def test_takes_never_add_up_to_more_than_was_asked_for(weights: list[int], sizes: list[int], dry: set[int]) -> None:
    made = rotation(*((lane(tenant), weight) for tenant, weight in enumerate(weights)))
    for jobs_max in sizes:
        if not made.has_lanes:
            return
        turn = made.turn(jobs_max, now_s=0.0)
        assert sum(turn.takes) <= jobs_max
        assert all(take >= 1 for take in turn.takes)
        rows = [(lane(tenant), take, AT, 1) for tenant, take in zip(turn.tenants, turn.takes, strict=True) if tenant not in dry]
        made.claimed(turn, rows)


@pytest.mark.parametrize("jobs_max", [1, 2, 5, 100])
def test_every_tenant_gets_its_turn(jobs_max: int) -> None:
    made = rotation(*((lane(tenant), 1) for tenant in range(40)))
    got: Counter[int] = Counter()
    for _ in range(40):
        got += take_all(made, made.turn(jobs_max, now_s=0.0))
    assert set(got) == set(range(40))
    assert max(got.values()) <= 3 * min(got.values())


def test_jobs_follow_the_weights() -> None:
    made = rotation((lane(1), 1), (lane(2), 3))
    got: Counter[int] = Counter()
    for _ in range(50):
        got += take_all(made, made.turn(100, now_s=0.0))
    assert got[2] / got[1] == pytest.approx(3, rel=0.05)


def test_jobs_follow_the_weights_also_one_at_a_time() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    got: Counter[int] = Counter()
    for _ in range(100):
        got += take_all(made, made.turn(1, now_s=0.0))
    assert got[1] == got[2] == 50


def test_a_tenant_alone_takes_all_there_is_room_for() -> None:
    made = rotation((lane(1), 1))
    assert [take_all(made, made.turn(100, now_s=0.0))[1] for _ in range(3)] == [100, 100, 100]


def test_a_turn_names_few_tenants_and_few_lanes() -> None:
    many = rotation(*((lane(tenant), 1) for tenant in range(100)))
    assert len(many.turn(500, now_s=0.0).tenants) == TENANTS_PER_CLAIM
    wide = rotation(*((lane(tenant, job_type=number), 1) for tenant in range(12) for number in range(12)))
    turn = wide.turn(500, now_s=0.0)
    assert len(turn.lanes) <= LANES_PER_CLAIM
    assert len(turn.tenants) == 2


def test_a_tenant_with_very_many_lanes_is_still_served() -> None:
    made = rotation(*((lane(1, job_type=number), 1) for number in range(LANES_PER_CLAIM + 50)), (lane(2), 1))
    assert [take_all(made, made.turn(10, now_s=0.0)) for _ in range(3)] == [{1: 10}, {2: 10}, {1: 10}]


def test_an_unused_share_is_carried_one_round_and_no_further() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    most = 0
    for _ in range(20):
        turn = made.turn(100, now_s=0.0)
        most = max(most, *turn.takes)
        made.claimed(turn, [(lane(1), 1, AT, 1), (lane(2), 1, AT, 1)])
    assert most <= 100


# ---------------------------------------------------------------------------------------------------- critical


def serve(made: Rotation, jobs_max: int, *, critical_left: int, ordinary_left: int, rounds: int) -> list[bool]:
    """Take from a tenant that has both, as claim does: critical first as far as allowed, then ordinary, then the rest."""
    taken: list[bool] = []
    for _ in range(rounds):
        turn = made.turn(jobs_max, now_s=0.0)
        take, allowed = turn.takes[0], turn.criticals[0]
        critical = min(take, allowed, critical_left)
        ordinary = min(take - critical, ordinary_left)
        critical += min(take - critical - ordinary, critical_left - critical)
        critical_left -= critical
        ordinary_left -= ordinary
        brought = [(lane(1, band=CRITICAL), critical), (lane(1), ordinary)]
        made.claimed(turn, [(name, count, AT, 1) for name, count in brought if count])
        taken += [True] * critical + [False] * ordinary
    return taken


@pytest.mark.parametrize("jobs_max", [1, 2, 3, 5, 7, 100])
def test_critical_jobs_get_four_of_five_while_others_wait(jobs_max: int) -> None:
    made = rotation((lane(1, band=CRITICAL), 1), (lane(1), 1))
    taken = serve(made, jobs_max, critical_left=10**6, ordinary_left=10**6, rounds=500 // jobs_max + 5)
    assert sum(taken) / len(taken) == pytest.approx(0.8, abs=0.02)


def test_the_first_job_of_all_may_be_critical() -> None:
    assert serve(rotation((lane(1, band=CRITICAL), 1), (lane(1), 1)), 1, critical_left=9, ordinary_left=9, rounds=1) == [True]


def test_critical_jobs_get_everything_when_nothing_else_waits() -> None:
    made = rotation((lane(1, band=CRITICAL), 1))
    assert serve(made, 10, critical_left=100, ordinary_left=0, rounds=3) == [True] * 30


def test_a_run_of_critical_jobs_alone_is_no_debt() -> None:
    made = rotation((lane(1, band=CRITICAL), 1), (lane(1), 1))
    serve(made, 10, critical_left=100, ordinary_left=0, rounds=10)
    taken = serve(made, 10, critical_left=100, ordinary_left=100, rounds=10)
    assert sum(taken) >= 75


def test_a_saved_up_allowance_is_small() -> None:
    made = rotation((lane(1, band=CRITICAL), 1), (lane(1), 1))
    serve(made, 10, critical_left=0, ordinary_left=1000, rounds=10)
    assert sum(serve(made, 10, critical_left=100, ordinary_left=100, rounds=1)) <= 9


# ------------------------------------------------------------------------------------------------ floors, lows


def test_floor_is_the_newest_claimed_and_is_asked_for_next_time() -> None:
    made = rotation((lane(1), 1))
    assert made.turn(10, now_s=0.0).floors == [None]
    turn = made.turn(10, now_s=0.0)
    made.claimed(turn, [(lane(1), 3, AT + timedelta(seconds=1), 5)])
    made.claimed(turn, [(lane(1), 1, AT, 8)])
    assert made.turn(10, now_s=0.0).floors == [AT + timedelta(seconds=1)]


def test_floors_are_dropped_after_a_while_so_that_late_commits_are_found() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 5)])
    assert made.turn(10, now_s=FLOOR_S_MAX).floors == [AT]
    assert made.turn(10, now_s=FLOOR_S_MAX + 0.1).floors == [None]


@pytest.mark.parametrize("band", [4, 6, 8, 10, 14])
def test_keyed_and_returned_lanes_have_no_floor(band: int) -> None:
    made = rotation((lane(1, band=band), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(1, band=band), 1, AT, 5)])
    assert made.turn(10, now_s=0.0).floors == [None]


def test_low_water_is_the_least_the_last_claim_told() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 9), (lane(1, job_type=2), 1, AT, 5)])
    assert made.turn(10, now_s=0.0).lows == [5]
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 8)])
    assert made.turn(10, now_s=0.0).lows == [8]


def test_an_empty_claim_leaves_the_low_water() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 9)])
    made.claimed(made.turn(10, now_s=0.0), [])
    assert made.turn(10, now_s=0.0).lows == [9]


def test_forget_drops_everything() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 9)])
    made.forget()
    assert not made.has_lanes
    assert made.wants_discovery(0.0)
    made.learn(lane(1))
    turn = made.turn(10, now_s=0.0)
    assert (turn.lows, turn.floors) == ([0], [None])


# ----------------------------------------------------------------------------------------------------- widths


def test_width_doubles_where_the_lane_was_cut_up_to_the_take() -> None:
    made = rotation(*((lane(1, job_type=number), 1) for number in range(40)))
    cut = lane(1, job_type=3)
    widths = []
    for _ in range(6):
        turn = made.turn(100, now_s=0.0)
        width = turn.widths[turn.lanes.index(cut)]
        widths.append(width)
        made.claimed(turn, [(cut, width, AT, 1)])
    assert widths[0] < widths[1] < widths[2] <= 100
    assert widths == sorted(widths)
    assert widths[-1] == 100


def test_width_falls_back_when_a_lane_gives_less() -> None:
    made = rotation(*((lane(1, job_type=number), 1) for number in range(40)))
    wide = lane(1, job_type=3)
    for got in (7, 14, 28, 1):
        turn = made.turn(100, now_s=0.0)
        made.claimed(turn, [(wide, got, AT, 1)])
    turn = made.turn(100, now_s=0.0)
    assert turn.widths[turn.lanes.index(wide)] <= 8


def test_few_lanes_are_read_as_wide_as_the_take() -> None:
    assert rotation((lane(1), 1), (lane(1, job_type=2), 1)).turn(50, now_s=0.0).widths == [50, 50]


# -------------------------------------------------------------------------------------------- empties, learning


def test_a_tenant_that_comes_up_empty_again_and_again_leaves() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    for _ in range(EMPTY_MAX + 1):
        made.claimed(made.turn(10, now_s=0.0), [(lane(2), 1, AT, 1)])
    assert made.turn(10, now_s=0.0).tenants == [2]


def test_one_job_is_enough_to_stay() -> None:
    made = rotation((lane(1), 1))
    for _ in range(EMPTY_MAX):
        made.claimed(made.turn(10, now_s=0.0), [])
    made.claimed(made.turn(10, now_s=0.0), [(lane(1), 1, AT, 1)])
    for _ in range(EMPTY_MAX):
        made.claimed(made.turn(10, now_s=0.0), [])
    assert made.has_lanes


def test_a_wake_up_brings_a_lane_in_and_a_second_one_clears_its_empties() -> None:
    made = rotation()
    made.learn(lane(1))
    assert made.turn(10, now_s=0.0).lanes == [lane(1)]
    for _ in range(EMPTY_MAX):
        made.claimed(made.turn(10, now_s=0.0), [])
        made.learn(lane(1))
    made.claimed(made.turn(10, now_s=0.0), [])
    assert made.has_lanes


def test_memory_of_lanes_is_bounded() -> None:
    made = rotation(*((lane(1, job_type=number), 1) for number in range(LANES_MAX)))
    made.learn(lane(2))
    assert set(made.turn(10, now_s=0.0).tenants) == {1}


def test_discovery_takes_at_most_its_share_of_the_time() -> None:
    made = Rotation()
    assert made.wants_discovery(0.0)
    made.discovered([], now_s=100.0, took_s=0.5)
    assert not made.wants_discovery(100.0 + DISCOVERY_SHARE * 0.5 - 0.1)
    assert made.wants_discovery(100.0 + DISCOVERY_SHARE * 0.5)
    made.discovered([], now_s=200.0, took_s=0.001)
    assert not made.wants_discovery(200.0 + DISCOVERY_S - 0.1)
    assert made.wants_discovery(200.0 + DISCOVERY_S)


def test_discovery_forgets_lanes_that_are_gone() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    made.discovered([(lane(2), 1)], now_s=1.0, took_s=0.0)
    assert made.turn(10, now_s=1.0).tenants == [2]


# -------------------------------------------------------------------------------------------------------- full


def test_a_tenant_at_its_limit_is_not_asked_for_until_it_has_room() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    made.claimed(made.turn(10, now_s=0.0), [(lane(2), 1, AT, 1)], full=[(1, 0)])
    assert list(made.full) == [1]
    assert made.turn(10, now_s=0.1).tenants == [2]
    assert made.free(1)
    assert not made.free(1)
    made.claimed(made.turn(10, now_s=0.2), [])
    assert 1 in made.turn(10, now_s=0.3).tenants


def test_of_a_queue_at_its_limit_only_its_own_lanes_are_set_aside() -> None:
    made = rotation((lane(1, queue=1), 1), (lane(1, queue=2), 1))
    made.claimed(made.turn(10, now_s=0.0), [], full=[(1, 2)])
    assert made.turn(10, now_s=0.1).lanes == [lane(1, queue=1)]
    made.free(1)
    assert sorted(made.turn(10, now_s=0.2).lanes) == [lane(1, queue=1), lane(1, queue=2)]


def test_discovery_asks_for_everybody_again() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [], full=[(1, 0)])
    assert not made.has_lanes
    made.discovered([(lane(1), 1)], now_s=1.0, took_s=0.0)
    assert made.turn(10, now_s=1.0).tenants == [1]
    assert not made.full


def test_a_wake_up_for_a_lane_that_is_set_aside_is_no_news() -> None:
    made = rotation((lane(1), 1))
    made.claimed(made.turn(10, now_s=0.0), [], full=[(1, 0)])
    assert not made.learn(lane(1))
    assert not made.has_lanes
    assert made.learn(lane(1, job_type=2))


def test_a_tenant_whose_gate_another_claimer_holds_keeps_its_turn_and_its_lanes() -> None:
    made = rotation((lane(1), 10), (lane(2), 1))
    for _ in range(EMPTY_MAX + 3):
        made.claimed(made.turn(11, now_s=0.0), [(lane(2), 1, AT, 1)], full=[(1, None)])
    turn = made.turn(60, now_s=0.1)
    takes = dict(zip(turn.tenants, turn.takes, strict=True))
    assert takes[1] >= 50


def test_a_claim_under_way_while_the_memory_starts_over_teaches_nothing() -> None:
    made = rotation((lane(1), 1), (lane(2), 1))
    turn = made.turn(10, now_s=0.0)
    made.forget()
    made.claimed(turn, [(lane(1), 1, AT, 7)], [(2, 0)])
    assert not made.full
    assert not made.has_lanes
    made.discovered([(lane(1), 1)], now_s=0.0, took_s=0.0)
    again = made.turn(10, now_s=0.0)
    assert (again.floors, again.lows) == ([None], [0])
    made.claimed(again, [(lane(1), 1, AT, 7)])
    assert made.turn(10, now_s=0.0).floors == [AT], "one of its own does"
