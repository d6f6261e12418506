"""A worker in a program of its own, for a test that kills it: `python -m tests.unit.worker.lone_worker FILE`."""

import asyncio
import sys

from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine
from tests.unit.worker import isolated_handlers
from tests.unit.worker.harness import working


async def main() -> None:
    engine, registry = FakeEngine(), Registry()
    registry.include(isolated_handlers.SPECS)
    engine.submit("touch_and_hang", {"path": sys.argv[1]})
    async with working(engine, registry):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
