"""The graph of states is closed, and every state can be left or is final."""

import pytest

from jobqueue.domain.lifecycle import FINAL, HELD, RETRYABLE, TRANSITIONS, WAITING, Event, Status
from jobqueue.domain.outcome import OutcomeKind

EDGES = {(before, after) for (before, _), afters in TRANSITIONS.items() for after in afters}


def reachable(start: Status | None) -> set[Status]:
    found: set[Status] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        for before, after in EDGES:
            if before == here and after not in found:
                found.add(after)
                todo.append(after)
    return found


def test_every_status_is_of_exactly_one_kind() -> None:
    assert set(Status) == FINAL | WAITING | HELD
    assert len(FINAL) + len(WAITING) + len(HELD) == len(Status)


def test_every_status_but_blocked_is_reached_from_nothing() -> None:
    assert reachable(None) == set(Status) - {Status.BLOCKED}  # workflows will make blocked jobs


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_every_job_can_come_to_an_end(status: Status) -> None:
    assert reachable(status) & FINAL


@pytest.mark.parametrize("status", sorted(FINAL))
def test_only_a_person_leads_out_of_a_final_status(status: Status) -> None:
    assert {event for before, event in TRANSITIONS if before == status} <= {Event.RETRIED, Event.FORCE_SUCCEEDED}


def test_retryable_statuses_are_those_with_the_edge() -> None:
    assert {before for before, event in TRANSITIONS if event is Event.RETRIED} == RETRYABLE


@pytest.mark.parametrize("held", sorted(HELD))
def test_a_held_job_can_end_by_every_outcome(held: Status) -> None:
    assert {Event(kind.value) for kind in OutcomeKind} <= {event for before, event in TRANSITIONS if before == held}


@pytest.mark.parametrize("held", sorted(HELD))
def test_success_wins_over_a_cancellation_and_nothing_else_does(held: Status) -> None:
    for kind in OutcomeKind:
        can_be_cancelled = Status.CANCELLED in TRANSITIONS[held, Event(kind.value)]
        assert can_be_cancelled == (kind is not OutcomeKind.SUCCEEDED)


@pytest.mark.parametrize("waiting", sorted(WAITING))
def test_a_waiting_job_is_cancelled_at_once(waiting: Status) -> None:
    assert TRANSITIONS[waiting, Event.CANCELLED] == {Status.CANCELLED}


def test_what_has_started_never_expires() -> None:
    assert {before for before, event in TRANSITIONS if event is Event.EXPIRED} == WAITING - {Status.FAILED}


def test_nothing_starts_but_what_was_leased() -> None:
    assert {before for before, after in EDGES if after is Status.LEASED} == {Status.QUEUED, Status.LEASED}
    assert {before for before, after in EDGES if after is Status.RUNNING} == {Status.LEASED, Status.RUNNING}
