"""How soon an idle worker starts a job: from just before the submit to the first line of the handler, in another process."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench import stamps
from bench.contender import STAMP, TENANTS, Contender, Producer
from bench.measure import percentile
from bench.process import Running, running
from bench.server import Server

WARM_UP: Final = 3 * TENANTS
"""So that each tenant's first job, and each connection's first plan, is before what is measured."""
PAUSE_S: Final = (0.05, 0.15)
"""Between two samples, drawn, so that the worker is idle and its timers are met at any moment."""
START_S_MAX: Final = 30.0
P50: Final = "pick-up p50, ms"
P99: Final = "pick-up p99, ms"


async def pick_up(server: Server, contender: Contender, *, samples: int) -> Mapping[str, float]:
    """Measure so many, in milliseconds."""
    dsn = await server.fresh(contender)
    with stamps.receiving(server.directory) as received:
        command = contender.worker(dsn)
        command = replace(command, environment={**command.environment, stamps.VARIABLE: str(received.path)})
        async with running(command, server.directory / "worker.log") as process, contender.producer(dsn) as producer:
            waits_s = [await _sample(number, producer, received, process) for number in range(WARM_UP + samples)][WARM_UP:]
    return {P50: percentile(waits_s, 0.50) * 1000, P99: percentile(waits_s, 0.99) * 1000}


async def _sample(number: int, producer: Producer, received: stamps.Stamps, process: Running) -> float:
    await asyncio.sleep(random.uniform(*PAUSE_S))
    process.check()
    submitted_at = time.monotonic()
    await producer.submit(number, job_type=STAMP)
    async with asyncio.timeout(START_S_MAX):
        return await received.started_at(number) - submitted_at
