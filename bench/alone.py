"""What is measured of jobqueue alone, against itself: each program's figures as rows of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from bench import claim_growth, held_transaction, idle, million, through_pooler
from bench.contender import Contender
from bench.server import Server

CLAIMS: Final = 30
WORKERS, IDLE_S = 10, 15.0
BEFORE, HELD_JOBS, HELD_ROUNDS = 200_000, 50_000, 3
WEEKS, JOBS_A_WEEK = 20, 50_000


async def growth(server: Server, _: Contender, *, over_size: dict[str, list[tuple[float, float]]]) -> Mapping[str, float]:
    """What a claim costs as everything grows."""
    found = await claim_growth.measure(server, CLAIMS)
    over_size.update(await claim_growth.sizes(server, CLAIMS))
    return {f"claim of 100: {name} / 10,000 of 10 tenants, x": one["ratio"] for name, one in found.items()}


async def rest(server: Server, _: Contender) -> Mapping[str, float]:
    """What idle workers ask."""
    found = await idle.measure(server, WORKERS, IDLE_S)
    return {
        f"{WORKERS} idle workers: looks a second, n": found["looks_per_s"],
        f"{WORKERS} idle workers: of a core, %": found["core_share"] * 100,
    }


async def held(server: Server, _: Contender) -> Mapping[str, float]:
    """What a transaction that stays open costs."""
    found = await held_transaction.measure(server, BEFORE, HELD_JOBS, HELD_ROUNDS)
    return {f"drain beside a transaction open for {BEFORE:,} jobs / none, x": found["ratio"]}


async def many(server: Server, _: Contender) -> Mapping[str, float]:
    """How memory and tables do over a million jobs."""
    found = await million.measure(server, WEEKS, JOBS_A_WEEK)
    middle, end = million.middle_and_end(found)
    jobs = f"{WEEKS * JOBS_A_WEEK:,} jobs"
    return {
        f"{jobs}: the worker's memory at most, MiB": max(one["rss_mib"] for one in found),
        f"{jobs}: tables at the end / in the middle, x": end["tables_mib"] / middle["tables_mib"],
    }


async def pooler(server: Server, _: Contender) -> Mapping[str, float]:
    """What a pooler between costs submits."""
    return await through_pooler.measure(server, through_pooler.SECONDS)


def parts(over_size: dict[str, list[tuple[float, float]]]) -> Mapping[str, Callable[[Server, Contender], Awaitable[Mapping[str, float]]]]:
    """Name them. over_size keeps what a claim costs at each size."""
    return {"growth": partial(growth, over_size=over_size), "idle": rest, "held": held, "million": many, "pooler": pooler}
