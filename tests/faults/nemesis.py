"""What breaks things, each a coroutine that goes on until cancelled. All is drawn from the run's seed and written down as it is done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import psutil

from jobqueue.apps.embedded import EmbeddedServer
from tests.faults import truth
from tests.faults.clocks import WallClock
from tests.faults.deployment import Deployment, Slot
from tests.faults.netns import Link
from tests.faults.power import Disk
from tests.faults.proxies import RemoteProxy
from tests.faults.proxy import CALM, Mood
from tests.faults.record import Recorder

POLL_S: Final = 0.1
TWICE: Final = 0.3
"""How often a SIGTERM is followed by another."""
STEPS_S: Final = (-86_400, -3_600, -2, 0, 2, 3_600, 86_400)


@dataclass
class Stage:
    """What a nemesis may lay hands on."""

    server: EmbeddedServer
    database: str
    deployment: Deployment
    proxies: dict[str, RemoteProxy]
    recorder: Recorder
    chance: random.Random
    lease_s: float
    may_end_with: tuple[int, ...] = ()
    """With these exit codes a process may end by itself: it was made to."""
    disk: Disk | None = None
    links: Mapping[str, Link] = field(default_factory=dict)
    """By slot: its link to the host."""
    clocks: tuple[WallClock, WallClock] | None = None
    """The server's and the workers'."""

    def tell(self, what: str, target: str = "") -> None:
        """Write down a fault."""
        self.recorder.note("nemesis", what=what, target=target)

    async def pause(self, least_s: float, most_s: float) -> None:
        """Let things run for a while."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    def pick(self, role: str) -> Slot | None:
        """Somebody of a role who lives."""
        living = [slot for slot in self.deployment.of(role) if slot.is_alive]
        return self.chance.choice(living) if living else None

    @property
    def dsn(self) -> str:
        """The database, past every proxy."""
        return self.server.dsn(self.database)


Nemesis = Callable[[Stage], Coroutine[Any, Any, None]]


async def keep_alive(stage: Stage) -> None:
    """Not a fault: start again what has ended."""
    while True:
        await asyncio.sleep(POLL_S)
        stage.deployment.revive(may_end_with=stage.may_end_with)


def killing(role: str, least_s: float, most_s: float) -> Nemesis:
    """SIGKILL one of a role, again and again."""

    async def kill(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            if (slot := stage.pick(role)) is not None:
                stage.deployment.kill(slot, f"kill_{role}")

    return kill


def stopping(role: str, least_s: float, most_s: float, *, leases: tuple[float, float]) -> Nemesis:
    """SIGSTOP one of a role for some lease lengths, then SIGCONT."""

    async def stop(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            slot = stage.pick(role)
            if slot is None:
                continue
            target, process = slot.target, slot.process
            stage.tell(f"stop_{role}", target)
            stage.deployment.signal(slot, signal.SIGSTOP)
            try:
                await stage.pause(leases[0] * stage.lease_s, leases[1] * stage.lease_s)
            finally:
                if process is slot.process:
                    stage.tell(f"cont_{role}", target)
                    stage.deployment.signal(slot, signal.SIGCONT)

    return stop


def terminating(role: str, least_s: float, most_s: float) -> Nemesis:
    """SIGTERM one of a role, sometimes twice."""

    async def terminate(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            if (slot := stage.pick(role)) is not None:
                stage.tell(f"term_{role}", slot.target)
                await _terminate(stage, slot)

    return terminate


def terminating_while_away(least_s: float, most_s: float) -> Nemesis:
    """Stop Postgres like a crash, SIGTERM a worker, sometimes twice; Postgres comes back once the worker has ended."""

    async def once(stage: Stage) -> None:
        stage.tell("pg_stop")
        await stage.server.stop_immediately()
        try:
            await stage.pause(0.1, 1)
            if (slot := stage.pick("worker")) is not None:
                stage.tell("term_worker_away", slot.target)
                await _terminate(stage, slot)
        finally:
            await stage.server.start()
            stage.tell("pg_start")

    async def terminate(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            await whole(once(stage))

    return terminate


async def _terminate(stage: Stage, slot: Slot) -> None:
    """SIGTERM, sometimes twice, and write down how long the process took to end."""
    process, began = slot.process, time.monotonic()
    stage.deployment.signal(slot, signal.SIGTERM, ends=True)
    if stage.chance.random() < TWICE:
        await stage.pause(0.1, 1)
        if process is slot.process:
            stage.deployment.signal(slot, signal.SIGTERM, ends=True)
    while process is not None and process.poll() is None:
        await asyncio.sleep(0.05)
    stage.recorder.note("term_ended", seconds=time.monotonic() - began)


async def wake_stopped(stage: Stage) -> None:
    """Not a fault of its own: resume workers that stopped themselves at a point, after twice their lease."""
    since: dict[int, float] = {}
    loop = asyncio.get_running_loop()
    try:
        while True:
            await asyncio.sleep(POLL_S)
            for pid in _stopped(stage):
                if loop.time() - since.setdefault(pid, loop.time()) >= 2 * stage.lease_s:
                    del since[pid]
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
    finally:
        for pid in _stopped(stage):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stopped(stage: Stage) -> list[int]:
    found = []
    for slot in stage.deployment.of("worker"):
        if slot.is_alive and slot.process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(slot.process.pid).status() == psutil.STATUS_STOPPED:
                    found.append(slot.process.pid)
    return found


def restarting_postgres(least_s: float, most_s: float, *, down_leases: tuple[float, float]) -> Nemesis:
    """`pg_ctl stop -m immediate`, stay away for a while, start."""

    async def once(stage: Stage) -> None:
        stage.tell("pg_stop")
        await stage.server.stop_immediately()
        await stage.pause(down_leases[0] * stage.lease_s, down_leases[1] * stage.lease_s)
        await stage.server.start()
        stage.tell("pg_start")

    async def restart(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            await whole(once(stage))

    return restart


async def whole(work: Coroutine[Any, Any, None]) -> None:
    """Do all of it, also when the faults end in the middle of it: a server half stopped is nobody's."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise


def killing_a_backend(least_s: float, most_s: float) -> Nemesis:
    """kill -9 of one server process: the postmaster then resets all of them."""

    async def kill(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            pids = await _backends(stage)
            if pids:
                stage.tell("kill_backend")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stage.chance.choice(pids), signal.SIGKILL)

    return kill


def killing_the_postmaster(least_s: float, most_s: float) -> Nemesis:
    """kill -9 of the postmaster; its backends hold the shared memory for a moment, so the start is tried until it succeeds."""

    async def kill(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            if stage.server.is_running:
                await whole(once(stage))

    async def once(stage: Stage) -> None:
        stage.tell("kill_postmaster")
        os.kill(stage.server.pid, signal.SIGKILL)
        while stage.server.is_running:
            await asyncio.sleep(POLL_S)
        await stage.server.start()

    return kill


async def _backends(stage: Stage) -> list[int]:
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        connection = await truth.connect(stage.dsn)
        try:
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'jobqueue-%'")
        finally:
            await connection.close(timeout=5)
        return [row["pid"] for row in rows]
    return []


def terminating_backends(least_s: float, most_s: float) -> Nemesis:
    """`pg_terminate_backend` for every connection of ours at once."""

    async def terminate(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await truth.connect(stage.dsn)
                stage.tell("terminate_backends")
                try:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'jobqueue-%'"
                    )
                finally:
                    await connection.close(timeout=5)

    return terminate


async def holding_a_snapshot(stage: Stage) -> None:
    """Keep a REPEATABLE READ transaction open, so that vacuum can clean nothing up that has died since."""
    await stage.pause(15, 20)
    connection = await truth.connect(stage.dsn)
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobqueue.job")
        stage.tell("snapshot_held")
        await asyncio.get_running_loop().create_future()
    finally:
        stage.tell("snapshot_let_go")
        connection.terminate()


async def stepping_clocks(stage: Stage) -> None:
    """Step the server's clock or the workers', to seconds, an hour, a day from the real time, every 20 s."""
    assert stage.clocks is not None
    while True:
        await stage.pause(15, 25)
        place, seconds = stage.chance.randrange(2), stage.chance.choice(STEPS_S)
        stage.tell(f"clock_{('server', 'workers')[place]}", str(seconds))
        stage.clocks[place].step_to(seconds)


def cutting_link(place: int) -> Nemesis:
    """Take one worker's link down for three leases, again and again."""

    async def cut(stage: Stage) -> None:
        name, link = sorted(stage.links.items())[place]
        while True:
            await stage.pause(3, 7)
            stage.tell("link_down", name)
            link.cut()
            try:
                await asyncio.sleep(3 * stage.lease_s)
            finally:
                link.heal()
                stage.tell("link_up", name)

    return cut


MOODS: Final[dict[str, Mood]] = {
    "delay_50": Mood(delay_s=0.05),
    "delay_200": Mood(delay_s=0.2),
    "delay_1000": Mood(delay_s=1.0),
    "freeze": Mood(is_frozen=True),
    "lose_to_server": Mood(loses_to_server=True),
    "lose_to_client": Mood(loses_to_client=True),
    "refuse": Mood(refuses=True),
    "trickle": Mood(bytes_per_s=1_000),
}


def disturbing(
    least_s: float, most_s: float, *, for_s: tuple[float, float], moods: tuple[str, ...] = tuple(MOODS), who: str = ""
) -> Nemesis:
    """Have one component's way to the database misbehave for a while. who: only proxies whose name begins so."""

    async def disturb(stage: Stage) -> None:
        while True:
            await stage.pause(least_s, most_s)
            proxy = stage.proxies[stage.chance.choice(sorted(name for name in stage.proxies if name.startswith(who)))]
            name = stage.chance.choice((*moods, "reset") if moods == tuple(MOODS) else moods)
            stage.tell(f"net_{name}", proxy.name)
            if name == "reset":
                proxy.reset()
                continue
            proxy.behave(MOODS[name])
            try:
                await stage.pause(*for_s)
            finally:
                proxy.behave(CALM)
                stage.tell("net_heal", proxy.name)

    return disturb


async def cutting_power(stage: Stage) -> None:
    """Cut the power under the server, end it, bring both back, again and again."""
    while True:
        await stage.pause(4, 7)
        await whole(_cut_power(stage))


async def _cut_power(stage: Stage) -> None:
    assert stage.disk is not None
    stage.tell("power_cut")
    stage.disk.cut()
    await stage.server.stop_immediately()
    await asyncio.to_thread(stage.disk.restore)
    await stage.server.start()
    stage.tell("power_back")


async def filling_disk(stage: Stage) -> None:
    """Fill the disk to the last byte, the server's log included; keep it so, make room, start the server if it gave up."""
    assert stage.disk is not None
    while True:
        await stage.pause(6, 9)
        stage.tell("disk_full")
        await asyncio.to_thread(stage.disk.fill)
        try:
            await stage.pause(4, 8)
        finally:
            stage.disk.make_room()
            stage.tell("disk_room")
        if not stage.server.is_running:
            stage.tell("pg_gave_up")
            await stage.server.start()
