"""The rate over three API processes and 40 clients: how many requests pass, and whether the moment a refusal names does pass.

    python -m tests.limits.rate [--seconds 180] [--per-minute 600]

The clients send as fast as they are answered, each to a process of its choice each time. Then: at most burst + rate x minutes passed, at
least 98 % of that; and with everybody quiet, a refused caller that waits as long as it was told passes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from tests import postgres
from tests.whole.roles import Roles, free_port

PROCESSES: Final = 3
CLIENTS: Final = 40
CALL_S_MAX: Final = 30.0
READY_S_MAX: Final = 30.0
PROMISES: Final = 5
"""How many refused callers wait for the moment they were told, one after the other."""
PATH: Final = "/auth/me"


@dataclass
class Tally:
    """What the clients saw. span_s: from before the first request to after the last answer."""

    passed: int = 0
    refused: int = 0
    span_s: float = 0.0
    promises_kept: int = 0

    def allowed(self, per_minute: int) -> float:
        """The most that may pass in the time."""
        return 2 * per_minute + per_minute * self.span_s / 60

    def tell(self, per_minute: int) -> str:
        """Write one line of figures."""
        allowed = self.allowed(per_minute)
        return (
            f"{per_minute}/min, {PROCESSES} processes, {CLIENTS} clients, {self.span_s:.1f} s: {self.passed} passed of at most"
            f" {allowed:.1f} ({self.passed / allowed:.2%}), {self.refused} refused;"
            f" {self.promises_kept} of {PROMISES} passed after Retry-After"
        )

    def check(self, per_minute: int) -> None:
        """See that the limit held and was used. Raises AssertionError."""
        assert self.passed <= self.allowed(per_minute), self.tell(per_minute)
        assert self.passed >= 0.98 * self.allowed(per_minute), self.tell(per_minute)
        assert self.refused > 0, "nobody was refused, so nothing was tried"
        assert self.promises_kept == PROMISES, self.tell(per_minute)


async def hammer(client: httpx2.AsyncClient, urls: list[str], tally: Tally, chance: random.Random, until: float) -> None:
    """Send until the time is over."""
    while time.monotonic() < until:
        answer = await client.get(chance.choice(urls) + PATH)
        if answer.status_code == 200:
            tally.passed += 1
        else:
            assert answer.status_code == 429, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            tally.refused += 1
            await asyncio.sleep(0.02)  # else the clients keep the processes from answering those that pass


async def keep_promises(client: httpx2.AsyncClient, urls: list[str], tally: Tally, chance: random.Random) -> None:
    """Spend what is left, be refused, wait as long as told, and pass, some times."""
    for _ in range(PROMISES):
        while (answer := await client.get(chance.choice(urls) + PATH)).status_code == 200:
            pass
        await asyncio.sleep(int(answer.headers["retry-after"]))
        tally.promises_kept += (await client.get(chance.choice(urls) + PATH)).status_code == 200


async def run(dsn: str, log_dir: Path, *, seconds: float, per_minute: int, seed: int = 1) -> Tally:
    """Load three processes on a migrated database; answers what happened."""
    roles = Roles(dsn, log_dir, {"JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE": str(per_minute), "JOBQUEUE_LOG_LEVEL": "warning"})
    tally, chance = Tally(), random.Random(seed)
    try:
        ports = [roles.port, *(free_port() for _ in range(PROCESSES - 1))]
        for port in ports[1:]:
            roles.start("api", "--port", str(port))
        await roles.start_api()
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        headers = {"Authorization": f"Bearer {roles.api_key}"}
        limits = httpx2.Limits(max_connections=4 * CLIENTS, max_keepalive_connections=4 * CLIENTS)
        async with httpx2.AsyncClient(headers=headers, timeout=CALL_S_MAX, limits=limits) as client:
            await _until_ready(client, urls)
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(hammer(client, urls, tally, random.Random(seed + number), begun + seconds))
            tally.span_s = time.monotonic() - begun
            await keep_promises(client, urls, tally, chance)
    finally:
        roles.stop()
    return tally


async def _until_ready(client: httpx2.AsyncClient, urls: list[str]) -> None:
    async with asyncio.timeout(READY_S_MAX):
        for url in urls:
            while True:
                try:
                    if (await client.get(f"{url}/healthz/ready")).status_code == 200:
                        break
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)


async def main(arguments: argparse.Namespace) -> None:
    """Load processes on a server of their own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-rate-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("rate")
            await postgres.migrate(server.dsn("rate"))
            tally = await run(server.dsn("rate"), Path(directory), seconds=arguments.seconds, per_minute=arguments.per_minute)
    sys.stdout.write(f"{tally.tell(arguments.per_minute)}\n")
    tally.check(arguments.per_minute)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--per-minute", type=int, default=600)
    asyncio.run(main(parser.parse_args()))
