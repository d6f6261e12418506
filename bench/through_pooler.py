"""What a transaction pooler costs: single submits and batches of 1,000 on one database, directly and through it, in turn.

    python -m bench.through_pooler POSTGRES_DSN POOLER_DSN [SECONDS]

Both lead to the same empty database, which is migrated. The process is ours (operations.submit), 16 clients; the medians of three count.
"""

from __future__ import annotations

import statistics
import sys
from typing import Final

import uvloop

from bench.contender import CLIENTS, NOOP
from bench.measure import rate
from bench.ours import Jobqueue
from bench.submit import BATCH

ROUNDS: Final = 3
SECONDS: Final = 2.0


async def main(direct: str, pooled: str, seconds: float) -> None:
    """Measure and print."""
    ours = Jobqueue()
    await ours.install(direct)
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS):
        ways = {"direct": direct, "pooler": pooled}
        for way in sorted(ways, reverse=turn % 2 == 1):
            async with ours.producer(ways[way]) as producer:
                single = await rate(lambda number: producer.submit(number, job_type=NOOP), clients=CLIENTS, seconds=seconds)
                many = await rate(lambda number: producer.submit_many(number * BATCH, BATCH, job_type=NOOP), clients=1, seconds=seconds)
            taken.setdefault(("single", way), []).append(single)
            taken.setdefault(("batch", way), []).append(many * BATCH)
    medians = {key: statistics.median(values) for key, values in taken.items()}
    for kind in ("single", "batch"):
        through, past = medians[kind, "pooler"], medians[kind, "direct"]
        sys.stdout.write(f"{kind}: pooler {through:,.0f}/s, direct {past:,.0f}/s, ratio {through / past:.2f}\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else SECONDS))
