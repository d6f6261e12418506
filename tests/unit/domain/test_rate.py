import pytest

from jobqueue.domain.rate import HOLD_S, REFUSED_S_MAX, TRUST_S, UNLIMITED_S, Drawn, Purse


def purse(*, ahead: int = 0, given: int = 0, tokens: float = 0.0, per_minute: int | None = 60, at: float = 100.0) -> Purse:
    made = Purse(1)
    made.take_in(Drawn(per_minute, given, ahead, tokens), sent_at_s=at, now_s=at)
    return made


def test_what_is_at_hand_is_spent_one_by_one() -> None:
    held = purse(ahead=2)
    assert [held.spend(100.1) for _ in range(3)] == [True, True, False]


def test_what_was_drawn_too_long_ago_is_not_spent() -> None:
    held = purse(ahead=2)
    assert held.spend(100 + TRUST_S - 0.1)
    assert not held.spend(100 + TRUST_S)
    assert held.hand == 0


def test_a_first_draw_asks_for_what_waits_only() -> None:
    first = Purse(1)
    first.spend(100.0)
    ask = first.ask(3, 100.0)
    assert (ask.hand, ask.back, ask.need, ask.want) == (0, 0, 3, 0)


def test_a_busy_tenant_s_draw_asks_for_a_second_of_its_pace() -> None:
    busy = purse(given=1, ahead=9)
    for _ in range(9):
        assert busy.spend(100.5)
    ask = busy.ask(0, 100.5)
    assert (ask.hand, ask.need, ask.want) == (0, 0, 19)


def test_what_lies_unspent_goes_back_and_cannot_be_spent_meanwhile() -> None:
    lazy = purse(ahead=5)
    assert not lazy.is_due(100 + HOLD_S - 0.1)
    assert lazy.is_due(100 + HOLD_S)
    ask = lazy.ask(0, 100 + HOLD_S)
    assert (ask.hand, ask.back, ask.want) == (0, 5, 0)
    assert not lazy.spend(100 + HOLD_S)


def test_what_the_pace_will_spend_is_kept_when_it_is_accounted_for() -> None:
    steady = purse(ahead=9)
    for second in range(3):
        assert steady.spend(100.5 + second)
        assert steady.spend(100.5 + second)
    ask = steady.ask(0, 103.0)
    assert (ask.hand, ask.back) == (1, 2)  # two a second: one more beside the next


def test_a_draw_is_wanted_before_the_hand_is_empty() -> None:
    held = purse(ahead=8)
    spent = []
    while not held.is_low:
        spent.append(held.spend(100.1))
    assert (spent, held.hand) == ([True] * 7, 1)
    assert not purse(ahead=3).is_low


def test_an_empty_bucket_refuses_until_it_has_filled_and_is_asked_again_before_long() -> None:
    empty = purse(tokens=0.25, per_minute=6)
    assert empty.refusal(100.0) == pytest.approx(7.5)
    assert empty.refusal(100 + REFUSED_S_MAX) is None
    quick = purse(tokens=0.25, per_minute=120)
    assert quick.refusal(100.1) == pytest.approx(0.275)
    assert quick.refusal(100.375) is None


def test_a_tenant_without_a_limit_is_never_refused_and_asked_about_now_and_then() -> None:
    free = purse(per_minute=None)
    assert free.is_unlimited(100 + UNLIMITED_S - 0.1)
    assert not free.is_unlimited(100 + UNLIMITED_S)
    assert free.refusal(100.0) is None
    assert free.standing(100.0) is None


def test_the_standing_counts_hand_and_bucket_and_fills_to_the_burst() -> None:
    held = purse(ahead=3, tokens=50.5)
    standing = held.standing(102.0)
    assert standing is not None
    assert (standing.per_minute, standing.burst, standing.left, standing.wait_s) == (60, 120, 55, pytest.approx(64.5))
    later = held.standing(200.0)
    assert later is not None
    assert (later.left, later.wait_s) == (120, 0)


def test_an_empty_bucket_s_standing_says_when_one_passes() -> None:
    standing = purse(tokens=0.4).standing(100.0)
    assert standing is not None
    assert (standing.left, standing.wait_s) == (0, pytest.approx(0.6))


def test_one_that_does_not_count_is_put_back() -> None:
    held = purse(ahead=1)
    held.spend(100.1)
    held.give_back()
    assert held.spend(100.2)
    assert not held.spend(100.3)


def test_a_purse_is_forgotten_only_when_it_is_empty_and_was_not_used() -> None:
    assert not purse(ahead=1).is_idle(1000.0)
    assert purse().is_idle(100 + UNLIMITED_S)
    used = purse()
    used.spend(110.0)
    assert not used.is_idle(110 + UNLIMITED_S - 0.1)
