"""`jobqueue worker --processes N`."""

import pytest

from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.workers import worker_commands


def test_metrics_ports_follow_each_other() -> None:
    assert [command.environment["JOBQUEUE_METRICS_PORT"] for command in worker_commands(3, metrics_port=9090)] == ["9090", "9091", "9092"]


def test_metrics_that_are_off_stay_off() -> None:
    assert {command.environment["JOBQUEUE_METRICS_PORT"] for command in worker_commands(3, metrics_port=0)} == {"0"}


def test_ports_beyond_the_last_one_are_refused() -> None:
    assert len(worker_commands(2, metrics_port=65_534)) == 2
    with pytest.raises(StartRefused, match="JOBQUEUE_METRICS_PORT"):
        worker_commands(3, metrics_port=65_534)
