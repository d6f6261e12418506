"""Every mutant is caught by the check that is named for it, which passes on the product as it is.

The suite runs those that are quick; `make test-mutants` runs all of them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import pytest

from jobqueue.domain.errors import JobQueueError
from tests.integration.engine.conftest import RESTORE
from tests.mutants import document
from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.patch import PatchDoesNotApply, Python, Sql, edited

IS_ALL = os.environ.get("JOBQUEUE_TEST_MUTANTS") == "all"
CAUGHT = (
    AssertionError,
    JobQueueError,
    TimeoutError,
    ExceptionGroup,
    asyncpg.DeadlockDetectedError,
    asyncpg.CheckViolationError,
    pytest.fail.Exception,
)
"""How a check says no. Anything else is a mutant that does not work, and no catch."""
NAMES = [mutant.name for mutant in MUTANTS if IS_ALL or mutant.is_quick]


@asynccontextmanager
async def applied(mutant: Mutant, dsn: str) -> AsyncIterator[None]:
    """Run the block with the mutant in the product's place."""
    if isinstance(mutant.patch, Python):
        with mutant.patch.applied():
            yield
        return
    broken, whole = mutant.patch.statements()
    await execute(dsn, broken)
    try:
        yield
    finally:
        await execute(dsn, whole)


async def execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        await connection.execute(statements, timeout=30)
    finally:
        await connection.close(timeout=30)


@contextmanager
def no(check: str) -> Iterator[None]:
    """Expect the check to say no."""
    with pytest.raises(CAUGHT) as caught:
        yield
    assert not isinstance(caught.value, ExceptionGroup) or caught.value.subgroup(CAUGHT) is not None, check


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
async def test_mutant_is_caught(mutant_database: str, name: str) -> None:
    (mutant,) = [each for each in MUTANTS if each.name == name]
    await mutant.check.run(mutant_database)
    async with applied(mutant, mutant_database):
        with no(mutant.check.name):
            await mutant.check.run(mutant_database)
    await execute(mutant_database, RESTORE)


# ---------------------------------------------------------------------------------------------- the mutants


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_patch_still_applies(mutant: Mutant) -> None:
    assert mutant.patch.source()


@pytest.mark.parametrize(("old", "new"), [("absent", "x"), ("b", "x"), ("a", "a")])
def test_patch_that_does_not_apply_is_loud_and_no_catch(old: str, new: str) -> None:
    with pytest.raises(PatchDoesNotApply):
        edited("abb", ((old, new),), "here")
    assert not issubclass(PatchDoesNotApply, CAUGHT)


def test_patch_of_an_unknown_function_is_loud() -> None:
    with pytest.raises(AssertionError):
        Sql("nobody_v1", ()).source()


def test_names_are_unique_and_the_document_is_current() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert document.TARGET.read_text("utf-8") == document.render(), "run python -m tests.mutants.document"
