"""One row reads as up to four events."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.history import SLOTS, EventRow, row_of, unpack
from jobqueue.domain.lifecycle import Event

AT = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.none() | st.just(AT)


def row(seq: int = 5, **fields: object) -> EventRow:
    values: dict[str, object] = {"type": "succeeded", "then_type": None, "at": AT, "leased_at": None, "started_at": None}
    return EventRow(**{"seq": seq, "attempt": 1, "worker_id": "w", "data_json": None, **values, **fields})  # type: ignore[arg-type]


def test_plain_row_is_one_event() -> None:
    (event,) = unpack(row())
    assert (event.type, event.at, event.attempt, event.worker_id) == (Event.SUCCEEDED, AT, 1, "w")


def test_full_row_is_four_events_in_order_each_at_its_own_time() -> None:
    events = list(unpack(row(type="failed", then_type="dlq", leased_at=AT - timedelta(seconds=2), started_at=AT - timedelta(seconds=1))))
    assert [event.type for event in events] == [Event.LEASED, Event.STARTED, Event.FAILED, Event.DLQ]
    assert [(AT - event.at).seconds for event in events] == [2, 1, 0, 0]


def test_data_belongs_to_the_row_s_own_event_only() -> None:
    events = list(unpack(row(leased_at=AT, then_type="queued", data_json='{"a":1}')))
    assert [event.data_json for event in events] == [None, '{"a":1}', None]


def test_what_follows_a_settle_was_not_done_by_the_worker() -> None:
    assert [event.worker_id for event in unpack(row(type="released", then_type="queued"))] == ["w", None]


@given(
    st.lists(
        st.tuples(moments, moments, st.sampled_from(["failed", "released", "submitted"]), st.sampled_from([None, "queued", "dlq"])),
        max_size=6,
    )
)
def test_seq_grows_over_rows_and_leads_back_to_its_row(shapes: list[tuple[datetime | None, datetime | None, str, str | None]]) -> None:
    rows = [row(seq, leased_at=a, started_at=b, type=c, then_type=d) for seq, (a, b, c, d) in enumerate(shapes)]
    events = [(source.seq, event.seq) for source in rows for event in unpack(source)]
    assert all(row_of(public) == private for private, public in events)
    assert all(one[1] < two[1] for one, two in itertools.pairwise(events))
    assert all(private * SLOTS <= public < (private + 1) * SLOTS for private, public in events)
