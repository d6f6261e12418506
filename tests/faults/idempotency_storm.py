"""One job a key, whatever dies: 32 clients fight over 50 keys with two bodies each, through two API processes that are killed at random.

    python -m tests.faults.idempotency_storm [--rounds 5] [--think-s 0.2] [--clients 32] [--impatient 0.1] [--seed N]

Each client sends both bodies of each key, to either process, and tries again until it has an answer. Then: one job a key; everybody who
sent the body that won has its id; everybody who sent the other one has 422 with that same id; what is stored is the body that won.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2

from tests import postgres
from tests.whole.roles import Roles

CLIENTS: Final = 32
KEYS: Final = 50
BODIES: Final = ("a", "b")
PORTS: Final = (12_000, 30_000)
"""Below the range the kernel takes clients' ports from."""
LIFE_S_MIN: Final = 0.3
LIFE_S_MAX: Final = 3.5
"""How long a process lives once it is ready; longer where starting one takes long."""
CALL_S_MAX: Final = 10.0
ROUND_S_MAX: Final = 300.0
TELL_ROUNDS: Final = 10
IMPATIENT_S: Final = (0.002, 0.1)


@dataclass
class Storm:
    """What happened. answers: (key, body) -> the (status, id) each client ended with."""

    clients: int = CLIENTS
    impatient: float = 0.0
    """The part of the calls that are given up after some ms, whatever becomes of them."""
    life_s: float = LIFE_S_MAX
    rounds: int = 0
    kills: int = 0
    tries: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    answers: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)

    def tell(self) -> str:
        """Write one line of figures."""
        asked = sum(self.statuses.values())
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        troubles = ", ".join(f"{name}: {count}" for name, count in self.troubles.most_common())
        return (
            f"{self.rounds} rounds, {self.rounds * KEYS} keys, {asked} answers ({statuses}) in {self.tries} tries, {self.kills} kills; "
            f"tried again after: {troubles or 'nothing'}"
        )


def quiet_port(chance: random.Random) -> int:
    """A free port no client gets for its own end: one that knocks at a dead process's port could meet itself there, and hold it."""
    while True:
        port = chance.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Door:
    """The two API processes."""

    def __init__(self, roles: Roles, chance: random.Random) -> None:
        self._roles = roles
        self._chance = chance
        self.ports = (quiet_port(chance), quiet_port(chance))
        roles.port = self.ports[0]
        self._processes: list[Any] = []

    async def open(self) -> None:
        """Start both."""
        await self._roles.start_api()
        self._processes = [self._roles.processes[-1], self._start(1)]

    def _start(self, place: int) -> Any:
        return self._roles.start("api", "--port", str(self.ports[place]))

    async def keep_killing(self, place: int, storm: Storm) -> None:
        """Kill a process some time after it came up, start it again, until cancelled."""
        while True:
            await self._until_ready(place)
            await asyncio.sleep(self._chance.uniform(LIFE_S_MIN, storm.life_s))
            self._processes[place].send_signal(signal.SIGKILL)
            self._processes[place].wait()
            storm.kills += 1
            self._processes[place] = self._start(place)

    def _last_words(self) -> str:
        logs = sorted(self._roles.log_dir.glob("*-api.log"), key=lambda log: log.stat().st_mtime)
        return logs[-1].read_text(errors="replace")[-1_000:]

    async def _until_ready(self, place: int) -> None:
        async with httpx2.AsyncClient(timeout=CALL_S_MAX) as client:
            while True:
                assert self._processes[place].poll() is None, f"the API ended by itself: {self._last_words()}"
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"http://127.0.0.1:{self.ports[place]}/healthz/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.05)


async def send(client: httpx2.AsyncClient, door: Door, storm: Storm, chance: random.Random, *, key: str, body: str) -> tuple[int, str]:
    """Submit until there is an answer; answers its status and the id it names."""
    content = {"payload": {"job_type": "storm", "data": {"key": key, "body": body}}}
    while True:
        storm.tries += 1
        address = f"http://127.0.0.1:{chance.choice(door.ports)}/v1/jobs"
        try:
            wait_s = chance.uniform(*IMPATIENT_S) if chance.random() < storm.impatient else CALL_S_MAX
            answer = await client.post(address, json=content, headers={"Idempotency-Key": key}, timeout=wait_s)
        except httpx2.TransportError as error:
            storm.troubles[type(error).__name__] += 1
        else:
            if answer.status_code in (200, 201):
                return answer.status_code, answer.json()["id"]
            if answer.status_code == 422:
                assert answer.json()["code"] == "idempotency_key_reused", answer.text
                return answer.status_code, answer.json()["job_id"]
            assert answer.status_code in (409, 503), answer.text
            assert int(answer.headers["retry-after"]) >= 1
            storm.troubles[answer.json()["code"]] += 1
        await asyncio.sleep(chance.uniform(0.01, 0.2))


async def be_client(door: Door, roles: Roles, storm: Storm, chance: random.Random, keys: list[str], think_s: float) -> None:
    """Send both bodies of every key, in an order of this client's own."""
    asked = [(key, body) for key in keys for body in BODIES]
    chance.shuffle(asked)
    async with httpx2.AsyncClient(timeout=CALL_S_MAX, headers={"Authorization": f"Bearer {roles.api_key}"}) as client:
        for key, body in asked:
            await asyncio.sleep(chance.uniform(0, think_s))
            status, job_id = await send(client, door, storm, chance, key=key, body=body)
            storm.statuses[status] += 1
            storm.answers.setdefault((key, body), []).append((status, job_id))


async def check(dsn: str, storm: Storm, keys: list[str]) -> None:
    """See that the promise held. Raises AssertionError."""
    connection = await asyncpg.connect(dsn, timeout=CALL_S_MAX)
    try:
        rows = await connection.fetch(
            "SELECT j.idempotency_key AS key, j.job_id::text AS id, j.data ->> 'body' AS body FROM jobqueue.job j"
            " WHERE j.idempotency_key = ANY ($1)",
            keys,
        )
    finally:
        await connection.close()
    assert Counter(row["key"] for row in rows) == Counter(keys), "not one job a key"
    for row in rows:
        loser = "b" if row["body"] == "a" else "a"
        won, lost = storm.answers[row["key"], row["body"]], storm.answers[row["key"], loser]
        assert len(won) == len(lost) == storm.clients, "somebody has no answer"
        assert {job_id for _, job_id in won + lost} == {row["id"]}, "somebody has another id"
        assert {status for status, _ in won} <= {200, 201}, "the body that won was refused"
        assert sum(status == 201 for status, _ in won) <= 1, "created twice"
        assert {status for status, _ in lost} == {422}, "the other body was taken"


async def run(
    dsn: str,
    log_dir: Path,
    *,
    rounds: int,
    think_s: float,
    seed: int,
    clients: int = CLIENTS,
    impatient: float = 0.0,
    life_s: float = LIFE_S_MAX,
    on_round: Callable[[Storm], None] = lambda _: None,
) -> Storm:
    """Storm against a migrated database; answers what happened. Raises when the promise does not hold. on_round: after each that held."""
    storm, chance = Storm(clients, impatient, life_s), random.Random(seed)
    roles = Roles(dsn, log_dir, {"JOBQUEUE_LOG_LEVEL": "warning"})
    door = Door(roles, random.Random(seed + 1))
    try:
        await door.open()
        async with asyncio.timeout(ROUND_S_MAX * rounds), asyncio.TaskGroup() as killers:
            killing = [killers.create_task(door.keep_killing(place, storm)) for place in range(2)]
            for number in range(rounds):
                keys = [f"storm-{number}-{key}" for key in range(KEYS)]
                async with asyncio.TaskGroup() as group:
                    for _ in range(storm.clients):
                        group.create_task(be_client(door, roles, storm, random.Random(chance.random()), keys, think_s))
                await check(dsn, storm, keys)
                storm.rounds += 1
                on_round(storm)
            for task in killing:
                task.cancel()
    except TimeoutError:
        raise AssertionError(f"not done in time: {storm.tell()}") from None
    finally:
        roles.stop()
    return storm


def show(storm: Storm) -> None:
    """Say how far it is, now and then."""
    if storm.rounds % TELL_ROUNDS == 0:
        sys.stderr.write(f"{storm.tell()}\n")


async def main(arguments: argparse.Namespace) -> None:
    """Storm against a server of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-storm-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("storm")
            await postgres.migrate(server.dsn("storm"))
            storm = await run(
                server.dsn("storm"),
                Path(directory),
                rounds=arguments.rounds,
                think_s=arguments.think_s,
                seed=arguments.seed,
                clients=arguments.clients,
                impatient=arguments.impatient,
                life_s=arguments.life_s,
                on_round=show,
            )
    sys.stdout.write(f"{storm.tell()}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--think-s", type=float, default=0.2, help="how long a client waits before a call, at most")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--impatient", type=float, default=0.1, help="the part of the calls that are given up after some ms")
    parser.add_argument("--life-s", type=float, default=LIFE_S_MAX, help="how long a process lives once it is ready, at most")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
