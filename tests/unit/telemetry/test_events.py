"""The hub: each event reaches its subscribers, and none of them can hurt the emitter."""

import pytest
import structlog

from jobqueue.telemetry import events
from jobqueue.telemetry.events import Event, JobsRetried, JobsSubmitted, Telemetry


def test_event_reaches_the_subscribers_of_its_type_in_order_and_no_others() -> None:
    told: list[tuple[str, Event]] = []
    telemetry = Telemetry()
    telemetry.subscribe(JobsSubmitted, lambda event: told.append(("first", event)))
    telemetry.subscribe(JobsSubmitted, lambda event: told.append(("second", event)))
    telemetry.subscribe(JobsRetried, lambda event: told.append(("wrong", event)))
    telemetry.subscribe_all(lambda event: told.append(("all", event)))
    event = JobsSubmitted("acme", "high", 3)
    telemetry.emit(event)
    assert told == [("first", event), ("second", event), ("all", event)]


def test_event_without_subscribers_is_fine() -> None:
    Telemetry().emit(JobsSubmitted("acme", "high"))


def test_raising_subscriber_is_logged_and_the_next_one_still_told() -> None:
    told: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("subscriber is broken")

    telemetry = Telemetry()
    telemetry.subscribe_all(fail)
    telemetry.subscribe_all(told.append)
    with structlog.testing.capture_logs() as lines:
        telemetry.emit(JobsSubmitted("acme", "high"))
    assert len(told) == 1
    assert [(line["event"], line["told"]) for line in lines] == [("subscriber.failed", "job.submitted")]


def test_events_are_frozen_and_named_as_noun_and_past_verb() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")]
    assert len(kinds) >= 10
    for kind in kinds:
        noun, _, verb = kind.name.partition(".")
        assert noun
        assert verb.endswith("ed")
        assert kind.__dataclass_params__.frozen
    with pytest.raises(AttributeError):
        JobsSubmitted("acme", "high").count = 2  # type: ignore[misc]
