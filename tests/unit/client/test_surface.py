"""Both clients have the same calls, with the same arguments; and the names a user imports."""

import asyncio
import inspect
import subprocess
import sys

import pytest

import jobqueue
from jobqueue import AsyncClient, AsyncJobHandle, Client, JobHandle

PAIRS = [(AsyncClient, Client), (AsyncJobHandle, JobHandle)]
RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def calls(kind: type) -> dict[str, inspect.Signature]:
    names = [name for name in vars(kind) if not name.startswith("_") or name in RENAMED or name in RENAMED.values()]
    return {RENAMED.get(name, name): inspect.signature(vars(kind)[name]) for name in names if callable(vars(kind)[name])}


@pytest.mark.parametrize(("for_loops", "blocking"), PAIRS)
def test_both_clients_have_the_same_calls(for_loops: type, blocking: type) -> None:
    of_loops, of_blocking = calls(for_loops), calls(blocking)
    assert list(of_loops) == list(of_blocking)
    for name, signature in of_loops.items():
        assert list(signature.parameters.values()) == list(of_blocking[name].parameters.values()), name


@pytest.mark.parametrize(("for_loops", "blocking"), PAIRS)
def test_only_one_of_them_awaits(for_loops: type, blocking: type) -> None:
    for name in calls(blocking):
        assert not asyncio.iscoroutinefunction(getattr(blocking, name)), name


def test_every_public_name_is_there() -> None:
    for name in jobqueue.__all__:
        assert getattr(jobqueue, name).__module__.startswith("jobqueue.")
    with pytest.raises(AttributeError):
        jobqueue.__getattr__("nothing")


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    code = (
        "import sys; from jobqueue import AsyncClient, Client, NewJob; "
        "print([m for m in ('asyncpg', 'fastapi', 'sqlalchemy', 'uvicorn', 'alembic', 'jobqueue.store') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
