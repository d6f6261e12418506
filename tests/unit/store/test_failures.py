"""What a caller can do about an error of the driver."""

from __future__ import annotations

import asyncpg
import pytest

from jobqueue.domain.errors import DatabaseUnavailable, JobQueueError
from jobqueue.store.failures import DataRefused, LockNotAvailable, RolledBack, translate

REACTIONS: list[tuple[str, type[JobQueueError]]] = [
    ("40P01", RolledBack),
    ("40001", RolledBack),
    ("0A000", RolledBack),
    ("55P03", LockNotAvailable),
    ("57014", DatabaseUnavailable),
    ("57P01", DatabaseUnavailable),
    ("57P02", DatabaseUnavailable),
    ("57P03", DatabaseUnavailable),
    ("08006", DatabaseUnavailable),
    ("53100", DatabaseUnavailable),
    ("53300", DatabaseUnavailable),
    ("25006", DatabaseUnavailable),
    ("58030", DatabaseUnavailable),
    ("22021", DataRefused),
    ("54000", DataRefused),
]


@pytest.mark.parametrize(("sqlstate", "reaction"), REACTIONS, ids=[sqlstate for sqlstate, _ in REACTIONS])
def test_an_error_of_the_server_names_its_reaction(sqlstate: str, reaction: type[JobQueueError]) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "S": "ERROR", "M": "as the server says it"})
    if sqlstate == "0A000":  # this class of state is a changed plan only when the message says so
        error = asyncpg.exceptions.InvalidCachedStatementError("cached plan must not change result type")
    assert type(translate(error)) is reaction


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("closed"), asyncpg.InternalClientError("?")]
)
def test_an_error_of_the_connection_leaves_it_unknown(error: Exception) -> None:
    assert type(translate(error)) is DatabaseUnavailable


def test_a_mistake_of_ours_surfaces_as_it_is() -> None:
    assert translate(asyncpg.UndefinedColumnError("no such column")) is None
