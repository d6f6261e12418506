"""What `jobqueue dev` gives its children."""

import socket
from pathlib import Path

import pytest

from jobqueue.apps.dev import DevOptions, check_port, child_commands, child_environment, role_names, take_free_port
from jobqueue.apps.refusals import StartRefused
from jobqueue.config import load

DSN = "postgresql://me@127.0.0.1:1/jobqueue"


def environment(**given: str) -> dict[str, str]:
    return child_environment(load(given), dsn=DSN, direct_dsn=DSN, signing_key="k" * 64)


def test_children_get_what_a_demo_needs() -> None:
    assert environment() == {
        "JOBQUEUE_DATABASE_URL": DSN,
        "JOBQUEUE_DATABASE_DIRECT_URL": DSN,
        "JOBQUEUE_API_SECRET_KEY": "k" * 64,
        "JOBQUEUE_REGISTRATION": "open",
        "JOBQUEUE_METRICS_OPEN": "true",
        "JOBQUEUE_SHUTDOWN_GRACE_SECONDS": "5",
        "JOBQUEUE_LOG_FORMAT": "console",
    }


@pytest.mark.parametrize(
    ("variable", "value", "left_out"),
    [
        ("API_SECRET_KEY", "s" * 32, "JOBQUEUE_API_SECRET_KEY"),
        ("JOBQUEUE_REGISTRATION", "closed", "JOBQUEUE_REGISTRATION"),
        ("JOBQUEUE_METRICS_OPEN", "false", "JOBQUEUE_METRICS_OPEN"),
        ("JOBQUEUE_SHUTDOWN_GRACE_SECONDS", "1", "JOBQUEUE_SHUTDOWN_GRACE_SECONDS"),
        ("JOBQUEUE_LOG_FORMAT", "json", "JOBQUEUE_LOG_FORMAT"),
    ],
)
def test_what_the_user_set_stays(variable: str, value: str, left_out: str) -> None:
    assert left_out not in environment(**{variable: value})


def test_each_child_has_a_metrics_port_of_its_own_and_the_api_knows_the_others() -> None:
    options = DevOptions(port=8000, data_dir=Path("x"), workers=2, concurrency=7)
    ports = {name: 9000 + place for place, name in enumerate(role_names(2))}
    commands = {
        command.name: command for command in child_commands(options, port=8000, metrics_ports=ports, environment={"A": "b"}, held_fds=[3])
    }
    assert list(commands) == ["api", "worker-1", "worker-2", "reaper"]
    assert len({command.environment["JOBQUEUE_METRICS_PORT"] for command in commands.values()}) == 4
    assert commands["api"].environment["JOBQUEUE_METRICS_PEERS"] == "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003"
    assert commands["worker-2"].environment["JOBQUEUE_WORKER_CONCURRENCY"] == "7"
    assert "JOBQUEUE_WORKER_CONCURRENCY" not in commands["reaper"].environment
    assert all(command.environment["A"] == "b" and command.held_fds == [3] for command in commands.values())


def test_port_in_use_is_refused_and_a_free_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StartRefused, match=str(port)):
            check_port(port)
    check_port(port)


def test_free_ports_are_given_once() -> None:
    taken: set[int] = set()
    assert len({take_free_port(taken) for _ in range(20)}) == 20
