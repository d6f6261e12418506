"""Run the state machine: `python -m tests.integration.engine.machine.run --examples 500 --steps 60`.

The seed is printed; --seed repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from jobqueue.domain.lifecycle import Event
from tests import postgres
from tests.integration.engine.machine.machine import QueueMachine
from tests.integration.engine.machine.world import open_world


def run_machine(
    dsn: str, *, examples: int, steps: int, number: int, shrinks: bool = True, base: type[QueueMachine] = QueueMachine
) -> Counter[str]:
    """Run examples against a migrated database that is nobody else's now; answers what happened how often.

    Raises AssertionError with the shrunk program.
    """
    with open_world(dsn) as world:
        machine = type(base.__name__, (base,), {"world": world, "__module__": base.__module__})
        chosen = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            database=DirectoryBasedExampleDatabase(Path(".hypothesis") / "machine") if shrinks else None,
            phases=[*Phase] if shrinks else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.normal,
        )
        run_state_machine_as_test(seed(number)(machine), settings=chosen)
        return world.seen


SOMETIMES: Final = {event.value for event in Event} - {"blocked"} | {"parked", "replayed", "lease_lost"}
"""What a run that proves something has come across; nothing makes a job wait for others yet."""


async def main(examples: int, steps: int, number: int) -> Counter[str]:
    async with postgres.running_server() as server:
        databases = postgres.Databases(server.dsn())
        await databases.ensure_template(postgres.migrate)
        dsn = databases.dsn(await databases.copy())
        return await asyncio.to_thread(run_machine, dsn, examples=examples, steps=steps, number=number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    number = asked.seed or random.SystemRandom().randrange(1, 1 << 30)
    sys.stdout.write(f"state machine: {asked.examples} examples of {asked.steps} steps, --seed {number}\n")
    sys.stdout.flush()
    started = time.monotonic()
    seen = asyncio.run(main(asked.examples, asked.steps, number))
    sys.stdout.write("".join(f"  {count:7} {what}\n" for what, count in seen.most_common()))
    if missing := SOMETIMES - set(seen):
        sys.exit(f"unknown: it never came to {sorted(missing)}; ask for more examples")
    sys.stdout.write(f"no find in {time.monotonic() - started:.0f} s\n")
