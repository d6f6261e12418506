"""The live feed's rules: the safe mark, and what a row reads as."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobqueue.domain.feed import Choice, FeedEvent, FeedRow, SafeMark, cursor_after, read_row
from jobqueue.domain.history import EventRow, row_of
from jobqueue.domain.lifecycle import Status

NOW = datetime(2030, 1, 1, tzinfo=UTC)
JOB = UUID(int=7)


def row(kind: str, *, then: str | None = None, leased: bool = False, started: bool = False, data: str | None = None) -> FeedRow:
    packed = EventRow(5, kind, then, NOW, NOW if leased else None, NOW if started else None, 1, "w", data)
    return FeedRow(1, JOB, "q", "t", packed)


def told(kind: str, **more: object) -> list[tuple[int, str, str]]:
    return [(event.cursor, event.type, str(event.status)) for event in read_row(row(kind, **more))]  # type: ignore[arg-type]


class TestMark:
    def test_passes_a_number_at_once_when_nobody_writes(self) -> None:
        assert SafeMark().look(5, frozenset(), now_s=0) == 5

    def test_waits_for_those_who_wrote_when_the_number_was_read(self) -> None:
        mark = SafeMark()
        assert mark.look(5, frozenset({"a", "b"}), now_s=0) == 0
        assert mark.look(5, frozenset({"b"}), now_s=1) == 0
        assert mark.lag_s(1) == 1
        assert mark.look(5, frozenset(), now_s=2) == 5
        assert (mark.is_waiting, mark.lag_s(3)) == (False, 0)

    def test_does_not_wait_for_those_who_came_later(self) -> None:
        """New writers draw larger numbers, so an endless stream of short ones delays nobody."""
        mark = SafeMark()
        assert mark.look(5, frozenset({"a"}), now_s=0) == 0
        assert mark.look(9, frozenset({"b"}), now_s=0) == 5
        assert mark.look(12, frozenset({"c"}), now_s=0) == 9

    def test_keeps_every_later_number_behind_one_that_waits(self) -> None:
        mark = SafeMark()
        mark.look(5, frozenset({"slow"}), now_s=0)
        assert mark.look(9, frozenset({"slow", "b"}), now_s=0) == 0
        assert mark.look(9, frozenset(), now_s=0) == 9

    def test_refuses_a_number_that_goes_back(self) -> None:
        mark = SafeMark()
        mark.look(5, frozenset(), now_s=0)
        with pytest.raises(AssertionError):
            mark.look(4, frozenset(), now_s=0)


def test_packed_row_reads_as_its_events_in_order() -> None:
    assert told("succeeded", leased=True, started=True) == [
        (40, "leased", "leased"),
        (41, "started", "running"),
        (42, "succeeded", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("kind", "more", "statuses"),
    [
        ("submitted", {}, ["queued"]),
        ("submitted", {"data": '{"status":"scheduled"}'}, ["scheduled"]),
        ("updated", {"data": '{"status":"failed"}'}, ["failed"]),
        ("cancel_requested", {"data": '{"status":"running"}'}, ["running"]),
        ("failed", {}, ["failed"]),
        ("failed", {"then": "dlq"}, ["failed", "dlq"]),
        ("lease_expired", {"then": "queued"}, ["queued", "queued"]),
        ("lease_expired", {"then": "dlq"}, ["dlq", "dlq"]),
        ("released", {"then": "cancelled"}, ["cancelled", "cancelled"]),
        ("snoozed", {}, ["scheduled"]),
        ("retried", {"then": "queued"}, ["queued", "queued"]),
    ],
)
def test_event_tells_the_status_after_it(kind: str, more: dict[str, str], statuses: list[str]) -> None:
    assert [status for _, _, status in told(kind, **more)] == statuses


def test_success_is_whole_progress() -> None:
    assert [event.progress for event in read_row(row("succeeded"))] == [100.0]


def test_cursor_behind_a_row_is_of_that_row_and_behind_all_its_events() -> None:
    events = read_row(row("failed", then="dlq", leased=True, started=True))
    assert all(event.cursor <= cursor_after(5) for event in events)
    assert (row_of(cursor_after(5)), cursor_after(5) + 1) == (5, 6 * 8)


def event(queue: str = "q", job_type: str = "t", job_id: UUID = JOB) -> FeedEvent:
    return FeedEvent(1, "queued", NOW, 1, job_id, queue, job_type, Status.QUEUED, 0, None)


def test_choice_takes_one_of_each_kind_it_names_and_no_other() -> None:
    assert Choice().wants(event())
    choice = Choice(frozenset({"q", "r"}), frozenset({"t"}))
    assert choice.wants(event("r"))
    assert not choice.wants(event("s"))
    assert not choice.wants(event("q", "u"))
    assert not Choice(job_ids=frozenset({UUID(int=8)})).wants(event())
