"""Turn names into the numbers rows carry, and back; what was looked up once is remembered, since a number never changes its name."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.rotation import Lane
from jobqueue.store import names as store
from jobqueue.store.pool import Database

REMEMBERED_MAX: Final = 50_000
"""Names of each kind a process remembers; beyond that it forgets all and starts again."""

Place = store.Noun | tuple[int, int]
"""What is looked up together: queues, job types, or the concurrency keys of one (tenant, queue)."""


class NameBook:
    """A process's memory of names. One per database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queues: dict[str, int] = {}
        self._job_types: dict[str, int] = {}
        self._keys: dict[tuple[int, int, str], int] = {}
        self._queue_names: dict[int, str] = {}
        self._job_type_names: dict[int, str] = {}
        self._tenant_names: dict[int, str] = {}
        self._wanted: defaultdict[Place, set[str]] = defaultdict(set)
        self._looking: dict[Place, asyncio.Future[None]] = {}

    async def queue_ids(self, names: Iterable[str]) -> Mapping[str, int]:
        """Answer the numbers of queues, new ones included."""
        return await self._numbers("queues", self._queues, names)

    async def type_ids(self, names: Iterable[str]) -> Mapping[str, int]:
        """Answer the numbers of job types, new ones included."""
        return await self._numbers("job_types", self._job_types, names)

    async def _numbers(self, noun: store.Noun, known: dict[str, int], names: Iterable[str]) -> Mapping[str, int]:
        wanted = set(names)

        async def look(unknown: set[str]) -> None:
            found = await store.numbers(self._db, noun, unknown, is_new_allowed=True)
            _make_room(known)
            known.update(found)

        await self._learn(noun, lambda: wanted - known.keys(), look)
        return known

    async def key_ids(self, tenant_id: int, keys: Iterable[tuple[int, str]]) -> Mapping[tuple[int, str], int]:
        """Answer the numbers of a tenant's concurrency keys, each (queue, name), new ones included."""
        wanted: defaultdict[int, set[str]] = defaultdict(set)
        for queue_id, name in keys:
            wanted[queue_id].add(name)
        numbers: dict[tuple[int, str], int] = {}
        for queue_id, names in sorted(wanted.items()):
            numbers |= await self._key_ids(tenant_id, queue_id, names)
        return numbers

    async def _key_ids(self, tenant_id: int, queue_id: int, names: set[str]) -> dict[tuple[int, str], int]:
        async def look(unknown: set[str]) -> None:
            found = await store.key_numbers(self._db, tenant_id, queue_id, unknown)
            _make_room(self._keys)
            self._keys.update({(tenant_id, queue_id, name): number for name, number in found.items()})

        await self._learn((tenant_id, queue_id), lambda: {name for name in names if (tenant_id, queue_id, name) not in self._keys}, look)
        return {(queue_id, name): self._keys[tenant_id, queue_id, name] for name in names}

    async def _learn(self, place: Place, unknown: Callable[[], set[str]], look: Callable[[set[str]], Awaitable[None]]) -> None:
        """Look names up until none is unknown, one look at a time: a crowd that meets new names shares the looks, and a failure, too."""
        while names := unknown():
            self._wanted[place] |= names
            if (looking := self._looking.get(place)) is not None:
                await asyncio.shield(looking)
            else:
                await self._look(place, look)

    async def _look(self, place: Place, look: Callable[[set[str]], Awaitable[None]]) -> None:
        looking = self._looking[place] = asyncio.get_running_loop().create_future()
        try:
            await look(self._wanted.pop(place))
        except JobQueueError as error:
            looking.set_exception(error)
            looking.exception()  # seen, also when nobody else came
            raise
        finally:
            del self._looking[place]
            if not looking.done():
                looking.set_result(None)

    async def learn_lanes(self, lanes: Iterable[Lane]) -> None:
        """Make sure the names of these lanes' tenants, queues and types are known."""
        lanes = list(lanes)
        for noun, known, place in (
            ("tenants", self._tenant_names, 0),
            ("queues", self._queue_names, 1),
            ("job_types", self._job_type_names, 2),
        ):
            wanted = {lane[place] for lane in lanes}
            if not wanted <= known.keys():
                _make_room(known)
                known |= await store.names_of(self._db, noun, wanted - known.keys())  # type: ignore[arg-type]

    def known_tenant(self, number: int) -> str | None:
        """Name a tenant, if it has been heard of."""
        return self._tenant_names.get(number)

    def tenant(self, number: int) -> str:
        """Name a tenant whose lane was learned."""
        return self._tenant_names[number]

    def queue(self, number: int) -> str:
        """Name a queue whose lane was learned."""
        return self._queue_names[number]

    def job_type(self, number: int) -> str:
        """Name a type whose lane was learned."""
        return self._job_type_names[number]


def _make_room(known: dict[object, object] | dict[str, int] | dict[int, str] | dict[tuple[int, int, str], int]) -> None:
    if len(known) >= REMEMBERED_MAX:
        known.clear()
