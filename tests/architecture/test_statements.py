"""Every SQL file keeps its contract: it prepares on the migrated schema, its header says what it does, its edges are the lifecycle's."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from jobqueue.domain.lifecycle import FINAL, TRANSITIONS, Event, Status
from jobqueue.store.functions import FUNCTIONS, function_source
from jobqueue.store.statements import all_names, source, statement
from scripts import lifecycle_doc, schema_dump
from tests import postgres

SOURCES = {**{name: source(name) for name in all_names()}, **{f"functions/{name}": function_source(name) for name in FUNCTIONS}}
PLACES = "ready|parked|scheduled|blocked|lease|ended"
MOVES = re.compile(rf"DELETE FROM jobqueue\.({PLACES})\b")
CALLED = re.compile(r"jobqueue\.(\w+_v\d+)\(")
NO_MOVE = {"functions/drop_week_v1"}
"""Its jobs have ended long ago and go altogether."""


def header(name: str, field: str) -> str | None:
    """A field of a file's header, its next lines joined."""
    match = re.search(rf"^-- {field}:\s+(.*(?:\n--   +\S.*)*)", SOURCES[name], re.MULTILINE)
    return None if match is None else re.sub(r"\n--\s+", " ", match[1])


def edges(name: str) -> Iterator[tuple[str | None, str]]:
    """The pairs a file's header names: `a|b -> c|d, e -> f`."""
    for part in (header(name, "edges") or "").split(", "):
        if part:
            befores, afters = part.split(" -> ")
            for before in befores.split("|"):
                for after in afters.split("|"):
                    yield (None if before == "none" else before), after


@pytest_asyncio.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    """A connection to the migrated schema that finds nothing without its schema's name."""
    connection = await asyncpg.connect(database, timeout=30, server_settings={"search_path": ""})
    yield connection
    connection.terminate()


# ------------------------------------------------------------------------------------------------------- files


async def test_every_statement_prepares_and_its_parameters_are_used(connection: Any) -> None:
    for name in all_names():
        prepared = await connection.prepare(statement(name).text)
        assert len(prepared.get_parameters()) == len(statement(name).parameters), name


async def test_no_statement_answers_a_column_without_a_name(connection: Any) -> None:
    for name in all_names():
        columns = [attribute.name for attribute in (await connection.prepare(statement(name).text)).get_attributes()]
        assert "?column?" not in columns, name
        assert len(columns) == len(set(columns)), name


@pytest.mark.parametrize("name", SOURCES)
def test_file_opens_with_what_it_is_for(name: str) -> None:
    assert re.match(r"-- [A-Z][^\n]*[.:;]", SOURCES[name]), SOURCES[name].splitlines()[0]


@pytest.mark.parametrize("name", all_names())
def test_statement_is_of_one_tenant_or_says_why_not(name: str) -> None:
    assert "tenant_id" in statement(name).parameters or header(name, "tenant")


@pytest.mark.parametrize("name", SOURCES)
def test_file_that_moves_jobs_names_its_edges(name: str) -> None:
    if MOVES.search(SOURCES[name]) and name not in NO_MOVE:
        assert list(edges(name))


@pytest.mark.parametrize("name", all_names())
def test_statement_names_the_edges_of_the_function_it_calls(name: str) -> None:
    called = {f"functions/{function}" for function in CALLED.findall(statement(name).text)}
    assert set(edges(name)) == {edge for function in called if function in SOURCES for edge in edges(function)} or not called


def test_no_string_is_built_into_a_statement() -> None:
    """EXECUTE only where a partition's name is the point."""
    assert {name for name in SOURCES if "EXECUTE" in SOURCES[name]} == {
        "functions/ids_v1",
        "functions/partitions_v1",
        "functions/drop_week_v1",
        "functions/raise_wall_v1",
        "functions/audit_v1",
    }


# ------------------------------------------------------------------------------------------------------- edges


def test_edges_of_the_files_are_the_lifecycle_s_both_ways() -> None:
    declared = {edge for name in SOURCES for edge in edges(name)}
    listed = {(before, after) for (before, _), afters in TRANSITIONS.items() for after in afters}
    assert declared == listed


def test_lifecycle_document_is_current() -> None:
    assert lifecycle_doc.TARGET.read_text("utf-8") == lifecycle_doc.render(), "run scripts/lifecycle_doc.py"


# -------------------------------------------------------------------------------------------------- the tables


async def test_schema_document_is_current(database: str, connection: Any) -> None:
    if connection.get_server_version().major != 18 or postgres.chosen_dsn() is not None:
        pytest.skip("the document is what the embedded server tells")
    assert schema_dump.TARGET.read_text("utf-8") == schema_dump.HEAD + schema_dump.dump(database), "run scripts/schema_dump.py"


async def allowed(connection: Any, constraint: str) -> set[str]:
    """The values a CHECK of the form column IN (...) allows."""
    text = await connection.fetchval(
        "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
        " WHERE c.conname = $1 AND NOT t.relispartition AND c.contype = 'c'",
        constraint,
    )
    return set(re.findall(r"'(\w+)'", text))


async def test_checks_of_events_and_statuses_are_the_enums(connection: Any) -> None:
    assert await allowed(connection, "event_type") == set(Event)
    assert await allowed(connection, "event_then_type") <= set(Event)
    assert await allowed(connection, "ended_status") == FINAL - {Status.SUCCEEDED}
    assert await allowed(connection, "outcome_state") - {"superseded"} == FINAL | {Status.FAILED}
    assert await allowed(connection, "tally_status") == set(Status) - {Status.LEASED, Status.RUNNING}


async def test_everything_installed_is_versioned_or_plain(connection: Any) -> None:
    installed = {
        row["proname"] for row in await connection.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'jobqueue'::regnamespace")
    }
    assert {name for name in installed if not re.search(r"_v\d+$", name)} == {"new_id", "id_at", "id_time", "submit"}


async def test_engine_s_functions_fix_what_their_plans_depend_on(connection: Any) -> None:
    """A plan must not depend on the statistics of an idle queue."""
    rows = await connection.fetch(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'jobqueue'::regnamespace AND proconfig IS NOT NULL"
    )
    fixed = {row["proname"] for row in rows if "enable_seqscan=off" in row["proconfig"]}
    assert fixed == {row["proname"] for row in rows if "jit=off" in row["proconfig"]}  # else compiled at each call before Postgres 18
    assert {
        "claim_v1",
        "settle_v1",
        "heartbeat_v1",
        "active_lanes_v1",
        "cancel_v1",
        "retry_v1",
        "promote_v1",
        "expire_v1",
        "unpark_v1",
    } <= fixed
