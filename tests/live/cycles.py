"""Break live streams again and again and see that every client was told the history, exactly, in order, once.

python -m tests.live.cycles --cycles 50 --sockets 500 --seed 1

Each cycle kills the API process, cuts every client's connection in the middle, or restarts Postgres (immediate). Writers meanwhile submit,
claim and settle, many of them in transactions that stay open for a while, so that smaller numbers of the history become visible after
larger ones. At the end each client's list of cursors is compared with the one the database has for what the client chose. A run in which a
fault never met a client in the middle of its stream is unknown, not passed (exit code 3).
"""

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
import websockets

from jobqueue.domain.errors import JobQueueError
from jobqueue.operations import leases
from tests.engine import OneConnection, outcome, settlement
from tests.live.world import HOST, World, history_of, open_world

QUEUES: Final = tuple(f"q{number}" for number in range(10))
KINDS: Final = ("api_killed", "link_cut", "postgres_restarted")
OPEN_S_MAX: Final = 0.4
"""How long a writer keeps its transaction open before it commits."""
CONNECT_AT_ONCE: Final = 40
BACK_S_MAX: Final = 60.0
SETTLE_S_MAX: Final = 60.0


@dataclass
class Follower:
    """A client that comes back with its cursor. queue None: it follows everything."""

    queue: str | None
    start: int | None = None
    cursors: list[int] = field(default_factory=list)
    is_up: bool = False
    connects: int = 0
    lagged: int = 0
    caught_up: int = 0
    """Connects that brought events at once which had happened while it was away."""

    async def follow(self, world: World, turns: asyncio.Semaphore) -> None:
        """Follow until cancelled, through everything."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                await self._listen(world, turns)
            self.is_up = False
            await asyncio.sleep(random.uniform(0.05, 0.5))

    async def _listen(self, world: World, turns: asyncio.Semaphore) -> None:
        query = {} if self.queue is None else {"queue": self.queue}
        if self.start is not None:
            query["after"] = str(self.cursors[-1] if self.cursors else self.start)
        address = f"ws://{HOST}:{world.port}/ws/jobs?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {world.key}"}
        async with contextlib.AsyncExitStack() as stack:
            async with turns:
                socket = await stack.enter_async_context(
                    websockets.connect(address, additional_headers=headers, compression=None, open_timeout=20, max_queue=None)
                )
                ready = json.loads(await asyncio.wait_for(socket.recv(), 20))
            assert ready["type"] == "ready", ready
            if self.start is None:
                self.start = int(ready["cursor"])
            self.is_up, self.connects = True, self.connects + 1
            known = len(self.cursors)
            async for said in socket:
                message = json.loads(said)
                if message["type"] == "lagged":  # a starved machine: the client comes back
                    self.lagged += 1
                    return
                assert message["type"].startswith("job."), message
                if message["type"] != "job.progress":
                    self.cursors.append(int(message["cursor"]))
                if self.connects > 1 and len(self.cursors) == known + 1:
                    self.caught_up += 1


class Writers:
    """Jobs from their submit to their success; transactions that commit in another order than they drew their numbers."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self.committed = 0
        self.late = 0

    async def write(self, pause_s: float) -> None:
        """Write until cancelled; the database may be away."""
        while True:
            try:
                await self._write_some()
            except (JobQueueError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ExceptionGroup):
                await asyncio.sleep(0.2)
            await asyncio.sleep(pause_s)

    async def _write_some(self) -> None:
        engine, caller = self._world.engine, self._world.caller
        job_type = f"t-{secrets.token_hex(3)}"
        await engine.submit(caller, job_type, queue=self._chance.choice(QUEUES))
        while not (found := await engine.claim(1, types=(job_type,))):  # another writer claims for the tenant just now
            await asyncio.sleep(0.01)
        (lease,) = found
        connection: Any = await asyncpg.connect(self._world.server.dsn(), timeout=5)
        try:
            async with connection.transaction():
                await leases.settle(OneConnection(connection), [settlement(lease, outcome())])
                if self._chance.random() < 0.5:
                    self.late += 1
                    await asyncio.sleep(self._chance.uniform(0, OPEN_S_MAX))
            self.committed += 1
        finally:
            connection.terminate()


async def break_it(world: World, kind: str) -> None:
    """Do one fault and undo it."""
    if kind == "api_killed":
        world.kill_api()
        await world.start_api()
    elif kind == "link_cut":
        world.proxy.reset()
    else:
        await world.server.stop_immediately()
        await world.server.start()


async def run(*, cycles: int, sockets: int, seed: int, writers: int = 6, pause_s: float = 0.3) -> dict[str, Any]:
    """Run it; answers the report."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    back_s: list[float] = []
    async with open_world() as world:
        followers = [Follower(None if number % 25 == 0 else QUEUES[number % len(QUEUES)]) for number in range(sockets)]
        work = Writers(world, chance)
        turns = asyncio.Semaphore(CONNECT_AT_ONCE)
        following = [asyncio.create_task(follower.follow(world, turns)) for follower in followers]
        await _all_up(followers, following)
        writing = [asyncio.create_task(work.write(pause_s)) for _ in range(writers)]
        for cycle in range(cycles):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            kind = KINDS[cycle % len(KINDS)] if cycles < 2 * len(KINDS) else chance.choice(KINDS)
            for follower in followers:
                follower.is_up = False if kind != "postgres_restarted" else follower.is_up
            begun_s = time.monotonic()
            await break_it(world, kind)
            await _all_up(followers, following)
            back_s.append(time.monotonic() - begun_s)
            done[kind] += 1
        for task in writing:
            task.cancel()
        await asyncio.wait(writing)
        raw = await asyncpg.connect(world.server.dsn(), timeout=10)
        history = await history_of(raw)
        await raw.close()
        wrong = await _compare(followers, history)
        for task in following:
            task.cancel()
        await asyncio.wait(following)
    caught_up = sum(follower.caught_up for follower in followers)
    is_known = bool(caught_up and work.late and all(done[kind] for kind in KINDS))
    return {
        "seed": seed,
        "verdict": "failed" if wrong else "passed" if is_known else "unknown",
        "cycles": dict(done),
        "sockets": sockets,
        "events_in_history": len(history),
        "events_told": sum(len(follower.cursors) for follower in followers),
        "jobs_settled": work.committed,
        "transactions_held_open": work.late,
        "connects": sum(follower.connects for follower in followers),
        "connects_that_caught_up": caught_up,
        "let_go_as_lagging": sum(follower.lagged for follower in followers),
        "all_back_s_max": round(max(back_s, default=0.0), 2),
        "wrong": wrong[:10],
    }


async def _all_up(followers: list[Follower], following: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(BACK_S_MAX):
        while not all(follower.is_up for follower in followers):
            for task in following:
                if task.done():
                    task.result()
            await asyncio.sleep(0.05)


async def _compare(followers: list[Follower], history: list[tuple[int, str, str, str]]) -> list[str]:
    """Wait for the last events, then compare each client's list with the database's."""
    by_queue = {name: [entry[0] for entry in history if name is None or entry[2] == name] for name in (None, *QUEUES)}
    deadline_s = time.monotonic() + SETTLE_S_MAX
    wrong: list[str] = []
    while time.monotonic() < deadline_s:
        wrong = [fault for follower in followers if (fault := _fault(follower, by_queue[follower.queue]))]
        if not wrong:
            break
        await asyncio.sleep(0.5)
    return wrong


def _fault(follower: Follower, known: list[int]) -> str | None:
    assert follower.start is not None
    expected = [cursor for cursor in known if cursor > follower.start]
    if follower.cursors == expected:
        return None
    missing, extra = set(expected) - set(follower.cursors), set(follower.cursors) - set(expected)
    twice = [cursor for cursor, count in Counter(follower.cursors).items() if count > 1]
    is_ordered = follower.cursors == sorted(follower.cursors)
    return f"queue {follower.queue}: missing {sorted(missing)[:5]}, unknown {sorted(extra)[:5]}, twice {twice[:5]}, in order {is_ordered}"


def main() -> None:
    """Read the command line, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    report = asyncio.run(run(cycles=arguments.cycles, sockets=arguments.sockets, seed=arguments.seed))
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.exit({"passed": 0, "failed": 1, "unknown": 3}[report["verdict"]])


if __name__ == "__main__":
    main()
