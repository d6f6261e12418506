"""Names become numbers: once for a whole crowd."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.operations.naming import NameBook
from jobqueue.store import names as store
from tests.engine import Engine, open_engine


@pytest_asyncio.fixture
async def engine(database: str) -> AsyncIterator[Engine]:
    async with open_engine(database) as engine:
        yield engine


async def ask_all(names: NameBook, asked: Iterable[list[str]]) -> list[Any]:
    return await asyncio.gather(*(names.queue_ids(each) for each in asked), return_exceptions=True)


async def test_crowd_that_meets_a_new_name_looks_it_up_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[set[str]] = []
    numbers = store.numbers

    async def counted(db: Any, noun: Any, wanted: Iterable[str], **more: Any) -> dict[str, int]:
        looked.append(set(wanted))
        return await numbers(db, noun, wanted, **more)

    monkeypatch.setattr(store, "numbers", counted)
    answers = await ask_all(NameBook(engine.db), [["new"]] * 200 + [["new", "newer"]] * 200)
    assert (looked[0], len(looked)) == ({"new"}, 2)  # the first comes alone, what came meanwhile goes together
    assert len({answer["new"] for answer in answers}) == 1
    assert answers[0]["new"] != answers[-1]["newer"]


async def test_crowd_shares_a_failure_and_the_next_one_looks_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameBook(engine.db)

    async def away(*_: Any, **__: Any) -> dict[str, int]:
        await asyncio.sleep(0)
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "numbers", away)
        answers = await ask_all(names, [["new"]] * 3)
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    assert "new" in await names.queue_ids(["new"])


async def test_one_of_a_crowd_that_gives_up_takes_nobody_along(engine: Engine) -> None:
    names = NameBook(engine.db)
    first = asyncio.create_task(names.queue_ids(["new"]))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    second = asyncio.create_task(names.queue_ids(["new"]))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    first.cancel()
    assert "new" in await second


async def test_crowd_of_new_concurrency_keys_is_looked_up_in_few_looks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    key_numbers = store.key_numbers

    async def counted(*asked: Any) -> dict[str, int]:
        nonlocal looks
        looks += 1
        return await key_numbers(*asked)

    monkeypatch.setattr(store, "key_numbers", counted)
    names = NameBook(engine.db)
    tenant = await engine.tenant()
    (queue_id,) = (await names.queue_ids(["q"])).values()
    answers = await asyncio.gather(*(names.key_ids(tenant.tenant_id, [(queue_id, f"k-{number % 50}")]) for number in range(500)))
    assert looks == 2
    assert len({number for answer in answers for number in answer.values()}) == 50
