"""Thousands of sockets that send the head of a request a byte at a time, beside normal requests.

    python -m tests.faults.slow_heads [--sockets 2000] [--attack-s 60] [--baseline-s 20] [--json FILE]

Each socket is opened again as soon as it is closed, so that all of them are there all the time. They live in a process of their own. Normal
requests (submit, then read) are sent at fixed moments, and their time counts from those. Ends with 1 unless every slow socket is closed
within CLOSED_S_MAX and the normal requests' p99 is at most P99_RATIO_MAX of what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from tests import postgres
from tests.whole.roles import Roles

CLOSED_S_MAX: Final = 10.0
P99_RATIO_MAX: Final = 2.0
BYTE_EVERY_S: Final = 2.0
OPENED_PER_S: Final = 400
REQUESTS_PER_S: Final = 40
HEAD: Final = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"y" * 1_000
SOURCES: Final = 50
"""Addresses of 127.0.0.0/8 the sockets come from: one alone would run out of ports that still wait."""


@dataclass
class Attack:
    """What became of the slow sockets. lives_s: from connected to closed by the server, of each."""

    opened: int = 0
    refused: int = 0
    lives_s: list[float] = field(default_factory=list)
    open_at_end_s: list[float] = field(default_factory=list)

    @property
    def life_s_max(self) -> float:
        """The longest life of any, of those still open at the end, too."""
        return max([*self.lives_s, *self.open_at_end_s], default=0.0)


@dataclass
class Figures:
    """What is told in the end."""

    sockets: int
    opened: int
    closed: int
    refused: int
    life_s_max: float
    requests: int
    failed: int
    p50_ms_before: float
    p99_ms_before: float
    p50_ms: float
    p99_ms: float

    @property
    def p99_ratio(self) -> float:
        """How much longer the slowest normal requests took."""
        return self.p99_ms / self.p99_ms_before

    def tell(self) -> str:
        """Write them on one line."""
        return (
            f"{self.sockets} slow sockets, {self.opened} opened, {self.closed} closed, {self.refused} refused, "
            f"longest life {self.life_s_max:.2f} s; "
            f"{self.requests} normal requests, {self.failed} failed, p50 {self.p50_ms_before:.1f} -> {self.p50_ms:.1f} ms, "
            f"p99 {self.p99_ms_before:.1f} -> {self.p99_ms:.1f} ms ({self.p99_ratio:.2f}x)"
        )


async def attack(port: int, *, sockets: int, lasts_s: float) -> Attack:
    """Keep so many slow sockets open for so long."""
    seen, end_s = Attack(), time.monotonic() + lasts_s
    async with asyncio.TaskGroup() as group:
        for number in range(sockets):
            group.create_task(_be_slow(port, seen, number=number, end_s=end_s))
    return seen


async def _be_slow(port: int, seen: Attack, *, number: int, end_s: float) -> None:
    await asyncio.sleep(number / OPENED_PER_S)
    while time.monotonic() < end_s:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{2 + number % SOURCES}", 0))
        except OSError:
            seen.refused += 1
            await asyncio.sleep(0.2)
            continue
        seen.opened += 1
        opened_s = time.monotonic()
        is_closed = await _drip(reader, writer, end_s)
        (seen.lives_s if is_closed else seen.open_at_end_s).append(time.monotonic() - opened_s)
        writer.close()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> bool:
    """Send byte after byte until the server closes, or the end; answers whether it closed."""
    for byte in HEAD:
        try:
            writer.write(bytes([byte]))
            async with asyncio.timeout(max(0.0, min(BYTE_EVERY_S, end_s - time.monotonic()))):
                while await reader.read(4_096):
                    pass
            return True
        except TimeoutError:
            if time.monotonic() >= end_s:
                return False
        except OSError:
            return True
    raise AssertionError("the head was sent whole")


async def be_normal(roles: Roles, *, lasts_s: float, name: str) -> tuple[list[float], int]:
    """Send normal requests at fixed moments; answers how long each took in seconds, and how many failed."""
    taken_s: list[float] = []
    failed = 0
    begun_s = time.monotonic()
    last = f"{roles.url}/v1/jobs"

    async def one(client: httpx2.AsyncClient, number: int, due_s: float) -> None:
        nonlocal last, failed
        try:
            if number % 2:
                answer = await client.get(last)
            else:
                body = {"payload": {"job_type": "normal"}}
                answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"{name}-{number}"})
                last = answer.headers.get("location", last)
            failed += not answer.is_success
        except httpx2.TransportError:
            failed += 1
        taken_s.append(time.monotonic() - due_s)

    async with roles.client() as client, asyncio.TaskGroup() as group:
        for number in itertools.count():
            due_s = begun_s + number / REQUESTS_PER_S
            if due_s >= begun_s + lasts_s:
                break
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(one(client, number, due_s))
    return taken_s, failed


def percentile_ms(taken_s: list[float], share: float) -> float:
    """The time within which so many of them were done."""
    return sorted(taken_s)[min(len(taken_s) - 1, int(len(taken_s) * share))] * 1_000


async def run(roles: Roles, *, sockets: int, attack_s: float, baseline_s: float) -> Figures:
    """Measure without the slow sockets, then beside them. roles: its API runs."""
    await be_normal(roles, lasts_s=min(2.0, baseline_s), name="warm")
    before_s, failed_before = await be_normal(roles, lasts_s=baseline_s, name="before")
    command = [sys.executable, "-m", "tests.faults.slow_heads", "--attack-port", str(roles.port)]
    command += ["--sockets", str(sockets), "--attack-s", str(attack_s)]
    attacker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2])
    during_s, failed = await be_normal(roles, lasts_s=attack_s, name="during")
    told, _ = await attacker.communicate()
    assert attacker.returncode == 0, "the attack itself failed"
    seen = Attack(**json.loads(told))
    return Figures(
        sockets=sockets,
        opened=seen.opened,
        closed=len(seen.lives_s),
        refused=seen.refused,
        life_s_max=seen.life_s_max,
        requests=len(before_s) + len(during_s),
        failed=failed + failed_before,
        p50_ms_before=percentile_ms(before_s, 0.5),
        p99_ms_before=percentile_ms(before_s, 0.99),
        p50_ms=percentile_ms(during_s, 0.5),
        p99_ms=percentile_ms(during_s, 0.99),
    )


async def main(arguments: argparse.Namespace) -> int:
    """Measure on a server of its own; answers the exit code."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-slow-heads-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("slow")
            await postgres.migrate(server.dsn("slow"))
            roles = Roles(server.dsn("slow"), Path(directory), {"JOBQUEUE_LOG_LEVEL": "error"})
            try:
                await roles.start_api()
                figures = await run(roles, sockets=arguments.sockets, attack_s=arguments.attack_s, baseline_s=arguments.baseline_s)
            finally:
                roles.stop()
    sys.stdout.write(f"{figures.tell()}\n")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({**asdict(figures), "p99_ratio": figures.p99_ratio}), "utf-8")
    return int(figures.life_s_max > CLOSED_S_MAX or figures.failed > 0 or figures.p99_ratio > P99_RATIO_MAX)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sockets", type=int, default=2_000)
    parser.add_argument("--attack-s", type=float, default=60.0)
    parser.add_argument("--baseline-s", type=float, default=20.0)
    parser.add_argument("--json")
    parser.add_argument("--attack-port", type=int, help="be the process of the slow sockets, and nothing else")
    chosen = parser.parse_args()
    if chosen.attack_port is None:
        sys.exit(asyncio.run(main(chosen)))
    sys.stdout.write(json.dumps(asdict(asyncio.run(attack(chosen.attack_port, sockets=chosen.sockets, lasts_s=chosen.attack_s)))))
