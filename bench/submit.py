"""How fast jobs go in: one a call from 16 clients at once, and in batches of 1,000 from one.

A job counts when its commit was answered. Nobody works the jobs off meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from bench.contender import CLIENTS, NOOP, Contender
from bench.measure import rate
from bench.server import Server

BATCH: Final = 1_000
ONE: Final = "submit single, jobs/s"
FILE: Final = "import a file, jobs/s"
MANY: Final = "submit 1,000 a batch, jobs/s"


async def one_by_one(server: Server, contender: Contender, *, seconds: float) -> Mapping[str, float]:
    """Measure single submits, in jobs per second."""
    dsn = await server.fresh(contender)
    async with contender.producer(dsn) as producer:
        return {ONE: await rate(lambda number: producer.submit(number, job_type=NOOP), clients=CLIENTS, seconds=seconds)}


async def in_batches(server: Server, contender: Contender, *, seconds: float, clients: int = 1) -> Mapping[str, float]:
    """Measure batches, in jobs per second."""
    dsn = await server.fresh(contender)
    async with contender.producer(dsn) as producer:
        batches = await rate(lambda number: producer.submit_many(number * BATCH, BATCH, job_type=NOOP), clients=clients, seconds=seconds)
    return {MANY: batches * BATCH}


async def as_a_file(server: Server, contender: Contender, *, rows: int) -> Mapping[str, float]:
    """Measure one import of many rows, in jobs per second."""
    dsn = await server.fresh(contender)
    async with contender.producer(dsn) as producer:
        await producer.load(BATCH, job_type=NOOP)  # prepares the statements
        begun_s = time.perf_counter()
        await producer.load(rows, job_type=NOOP)
        return {FILE: rows / (time.perf_counter() - begun_s)}
