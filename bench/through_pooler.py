"""What a transaction pooler costs: single submits and batches of 1,000 on one database, directly and through PgBouncer, in turn.

    python -m bench.through_pooler [SECONDS]

The process is ours (operations.submit), 16 clients; the medians of three count. PgBouncer comes from the system's packages.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from typing import Final

from bench import process
from bench.contender import CLIENTS, NOOP
from bench.measure import rate
from bench.ours import PRODUCER_CONNECTIONS, Jobqueue
from bench.server import Server, serving
from bench.submit import BATCH
from tests.pooler import binary, pooled

ROUNDS: Final = 3
SECONDS: Final = 2.0


class PoolerMissing(Exception):
    """There is no pgbouncer on this machine."""


async def measure(server: Server, seconds: float) -> Mapping[str, float]:
    """Answer what submits through the pooler are of those past it."""
    if binary() is None:
        raise PoolerMissing("install pgbouncer")
    ours = Jobqueue()
    direct = await server.fresh(ours)
    taken: dict[tuple[str, str], list[float]] = {}
    async with pooled(direct, connections=PRODUCER_CONNECTIONS + 1) as through:
        for turn in range(ROUNDS):
            for way, dsn in sorted({"direct": direct, "pooler": through}.items(), reverse=turn % 2 == 1):
                async with ours.producer(dsn) as producer:
                    single = await rate(lambda number: producer.submit(number, job_type=NOOP), clients=CLIENTS, seconds=seconds)
                    many = await rate(lambda number: producer.submit_many(number * BATCH, BATCH, job_type=NOOP), clients=1, seconds=seconds)
                taken.setdefault(("single", way), []).append(single)
                taken.setdefault(("batch", way), []).append(many * BATCH)
    medians = {key: statistics.median(values) for key, values in taken.items()}
    return {
        f"submit {kind} through PgBouncer / directly, x": medians[kind, "pooler"] / medians[kind, "direct"] for kind in ("single", "batch")
    }


async def alone(seconds: float) -> Mapping[str, float]:
    """Measure on a server of its own."""
    async with serving() as server:
        return await measure(server, seconds)


if __name__ == "__main__":
    for name, ratio in process.run(alone(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)).items():
        print(f"{name}: {ratio:.2f}")
