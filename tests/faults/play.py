"""Play one scenario: set the stage, load it, break things, heal, drain, and write down all there is to judge it by.

Two phases, as in a simulation: while faults last only safety counts; then everything heals, and all that was accepted has to come to an
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import orjson

from jobqueue.apps.embedded import EmbeddedServer, packaged_binaries
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.operations import tenants
from jobqueue.operations.database import open_database
from tests import postgres
from tests.faults import nemesis, truth
from tests.faults.cgroup import CGROUP, memory_group
from tests.faults.clocks import WallClock
from tests.faults.clocks import build as build_clocks
from tests.faults.deployment import ROOT, Deployment
from tests.faults.history import Params
from tests.faults.load import Load, Shape
from tests.faults.nemesis import Nemesis, Stage
from tests.faults.netns import Link, linked
from tests.faults.power import Disk
from tests.faults.proxies import ProxyHost, RemoteProxy
from tests.faults.proxy import CALM
from tests.faults.record import Recorder, clock_offset_ns
from tests.faults.tap import HEALED
from tests.programs import temporary_directory

READY_S_MAX: Final = 180.0
HEAL_S_MAX: Final = 120.0
DRAIN_S_MAX: Final = 120.0
AFTER_HEAL_S: Final = 4.0
"""The load goes on for so long after healing, to see that nothing is left of the faults."""
TRANSIENT: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

Prepare = Callable[[str], Awaitable[None]]
Judge = Callable[[dict[str, Any]], list[str]]


def no_figures(report: dict[str, Any]) -> list[str]:
    """Nothing beyond safety."""
    return []


@dataclass(frozen=True)
class Scenario:
    """What is played. sometimes: what must have happened, else the run is unknown. passes: which figures of the report are not met."""

    title: str
    nemeses: tuple[Nemesis, ...]
    seconds: float = 60.0
    shape: Shape = field(default_factory=Shape)
    workers: int = 4
    apis: int = 2
    reapers: int = 2
    tenant_caps: tuple[int, ...] = (0, 8, 4, 2)
    settings: Mapping[str, str] = field(default_factory=dict)
    worker_settings: Mapping[str, str] = field(default_factory=dict)
    sometimes: tuple[str, ...] = ()
    passes: Judge = no_figures
    may_end_with: tuple[int, ...] = ()
    is_partitioned: bool = False
    """Each worker lives in a network namespace of its own."""
    memory_bytes: int = 0
    """Above 0: each worker lives in a control group with so much memory."""
    steps_clock: bool = False
    snapshot_every_s: float = 1.0
    server_options: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int = 0
    """Above 0: the server's data lie on a disk of their own, of this size, whose power can be cut."""
    expected: tuple[str, ...] = ()
    """A control: these anomalies are what it has to show."""
    cycle_s: float = 0.0
    """How long one cycle takes, for --cycles; 0: the scenario has none."""


async def play(
    scenario: Scenario,
    server: EmbeddedServer,
    database: str,
    directory: Path,
    *,
    seed: int,
    seconds: float | None = None,
    prepare: Prepare | None = None,
    disk: Disk | None = None,
    clocks: tuple[WallClock, WallClock] | None = None,
) -> None:
    """Play on a migrated, empty database of a running server; leaves the files for the checker in the directory.

    prepare is called with the database's address once the triggers are in, before any role starts: a mutant changes functions there.
    """
    chance = random.Random(seed)
    recorder = Recorder(directory, "runner")
    dsn = server.dsn(database)
    await truth.install(dsn)
    keys = await make_tenants(dsn, scenario.tenant_caps)
    if prepare is not None:
        await prepare(dsn)
    if scenario.expected:  # a control loses what comes after this, not the server itself
        os.sync()
    offset_ns = clock_offset_ns()
    async with contextlib.AsyncExitStack() as stack:
        deployment = Deployment(directory, recorder, scenario.settings)
        made = stack.enter_context(linked(scenario.workers)) if scenario.is_partitioned else []
        links = {f"worker-{number}": link for number, link in enumerate(made, start=1)}
        proxies = _deploy(stack, scenario, deployment, server, database, links)
        for slot in deployment.of("worker") if clocks is not None else ():
            slot.settings.update(clocks[1].environment)
        lease_s = float(deployment.settings["JOBQUEUE_LEASE_SECONDS"])
        stage = Stage(server, database, deployment, proxies, recorder, chance, lease_s, scenario.may_end_with, disk, links, clocks)
        stack.callback(deployment.stop)
        deployment.start_all()
        await until_ready(deployment.urls)
        load = Load(deployment.urls, keys, scenario.shape, recorder, chance, deployment.answered)
        await _phases(scenario, stage, load, scenario.seconds if seconds is None else seconds)
        is_drained = await drain(stage)
    await truth.dump(dsn, directory)
    params = Params(
        seed=seed,
        lease_s=lease_s,
        cancel_grace_s=float(deployment.settings["JOBQUEUE_CANCEL_GRACE_SECONDS"]),
        crashes_max=int(deployment.settings["JOBQUEUE_MAX_CRASHES"]),
        tenant_caps={str(tenant): cap for tenant, cap in zip(keys, scenario.tenant_caps, strict=True)},
        clock_offset_ns=offset_ns,
        is_drained=True,
        steps_clock=scenario.steps_clock,
        sometimes=list(scenario.sometimes),
        expected=list(scenario.expected),
        title=scenario.title,
    )
    truth.write_params(directory, params)
    if not is_drained:
        sys.stderr.write(f"not drained within {DRAIN_S_MAX:g} s\n")


async def make_tenants(dsn: str, caps: tuple[int, ...]) -> dict[int, str]:
    """Make tenants with these limits of running jobs; answers an API key for each."""
    db = await open_database(dsn, size=1, application_name="tests")
    keys = {}
    try:
        for number, _ in enumerate(caps):
            tenant_id = await tenants.create(db, f"tenant-{number}")
            chance = secrets.token_bytes(ID_BYTES + SECRET_BYTES)
            _, keys[tenant_id] = await tenants.create_api_key(db, tenant_id, name="faults", scopes=None, random_bytes=chance)
    finally:
        await db.close()
    connection = await truth.connect(dsn)
    try:
        for tenant_id, cap in zip(keys, caps, strict=True):
            await connection.execute("UPDATE jobqueue.tenant SET max_concurrent = $2 WHERE tenant_id = $1", tenant_id, cap)
    finally:
        await connection.close()
    return keys


def _deploy(
    stack: contextlib.AsyncExitStack,
    scenario: Scenario,
    deployment: Deployment,
    server: EmbeddedServer,
    database: str,
    links: Mapping[str, Link],
) -> dict[str, RemoteProxy]:
    """Lay out the slots, each with a proxy of its own before the database."""
    host = stack.enter_context(ProxyHost.running())
    proxies: dict[str, RemoteProxy] = {}
    counts = {"api": scenario.apis, "worker": scenario.workers, "reaper": scenario.reapers}
    for role, count in counts.items():
        for number in range(1, count + 1):
            name = f"{role}-{number}"
            address, prefix = (links[name].host, links[name].prefix) if name in links else ("127.0.0.1", ())
            proxy = proxies[name] = host.open(name, server.port, host=address)
            dsn = server.dsn(database).replace(f"127.0.0.1:{server.port}/", f"{address}:{proxy.port}/")
            settings = dict(scenario.worker_settings) if role == "worker" else {}
            if role == "worker" and scenario.memory_bytes:
                settings[CGROUP] = str(stack.enter_context(memory_group(scenario.memory_bytes)))
            deployment.add(role, dsn=dsn, prefix=prefix, **settings)
    return proxies


async def until_ready(urls: list[str], *, within_s: float = READY_S_MAX) -> None:
    """Wait until every API process says that it is ready."""
    async with asyncio.timeout(within_s), httpx2.AsyncClient(timeout=2) as client:
        for url in urls:
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await client.get(f"{url}/healthz/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.1)


async def _phases(scenario: Scenario, stage: Stage, load: Load, seconds: float) -> None:
    """Load, break, heal; when this returns every submit has its answer or was given up."""
    over = asyncio.Event()
    async with _background(watch(stage, every_s=scenario.snapshot_every_s)), asyncio.TaskGroup() as clients:
        sending = clients.create_task(load.run(clients, over))
        await asyncio.sleep(2)
        async with _background(*(start(stage) for start in (nemesis.keep_alive, *scenario.nemeses))):
            await asyncio.sleep(seconds)
        await heal(stage)
        async with _background(nemesis.keep_alive(stage)):
            await asyncio.sleep(AFTER_HEAL_S)
            over.set()
            await sending
            while load.open:
                await asyncio.sleep(0.2)
    await load.close()


@contextlib.asynccontextmanager
async def _background(*works: Any) -> AsyncIterator[None]:
    """Run these beside the block; a fault of one ends the run."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


async def heal(stage: Stage) -> None:
    """End every fault: the server is up, the ways are open, nobody is stopped, everybody lives."""
    (stage.deployment.directory / HEALED).touch()
    for proxy in stage.proxies.values():
        proxy.behave(CALM)
    for clock in stage.clocks or ():
        clock.step_to(0)
    for slot in stage.deployment.slots:
        stage.deployment.signal(slot, signal.SIGCONT)
    async with asyncio.timeout(HEAL_S_MAX):
        while True:
            try:
                connection = await truth.connect(stage.dsn)
                await connection.close()
                break
            except TRANSIENT:
                if not stage.server.is_running:
                    await stage.server.start()
                await asyncio.sleep(0.1)
    stage.deployment.revive(may_end_with=stage.may_end_with)
    stage.deployment.start_all()
    await until_ready(stage.deployment.urls)
    stage.recorder.note("healed")


async def watch(stage: Stage, *, every_s: float) -> None:
    """Look at all places in one snapshot, again and again, as far as the server is there."""
    while True:
        with contextlib.suppress(*TRANSIENT):
            connection = await truth.connect(stage.dsn)
            try:
                while True:
                    row = await connection.fetchrow(truth.SNAPSHOT)
                    stage.recorder.note("snapshot", jobs=row["jobs"], placed=row["placed"])
                    await asyncio.sleep(every_s)
            finally:
                connection.terminate()
        await asyncio.sleep(every_s)


async def drain(stage: Stage) -> bool:
    """Wait until no job waits or runs; False if that took too long."""
    connection = await truth.connect(stage.dsn)
    try:
        async with _background(nemesis.keep_alive(stage)):
            try:
                async with asyncio.timeout(DRAIN_S_MAX):
                    while await connection.fetchval(truth.WAITING):
                        await asyncio.sleep(0.2)
            except TimeoutError:
                return False
        stage.recorder.note("drained")
        return True
    finally:
        connection.terminate()


async def judge(directory: Path) -> dict[str, Any]:
    """Have the checker judge the run in its own process; answers its report. Raises when it could not."""
    command = (sys.executable, "-m", "tests.faults.check", str(directory))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    )
    output, _ = await process.communicate()
    report = directory / "report.json"
    if not report.exists():
        raise RuntimeError(f"the checker ended with {process.returncode} and no report: {output.decode()}")
    found: dict[str, Any] = orjson.loads(report.read_bytes())
    return found


async def play_on_own_server(
    scenario: Scenario, directory: Path, *, seed: int, seconds: float | None = None, prepare: Prepare | None = None
) -> dict[str, Any]:
    """Play a scenario on a server made for it, and judge it. Raises NoPowerToCut where it needs a disk that cannot be had."""
    with temporary_directory() as place, contextlib.ExitStack() as stack:
        disk = stack.enter_context(Disk.mounted(place, size=scenario.disk_bytes)) if scenario.disk_bytes else None
        options = {"max_connections": "300", **scenario.server_options}
        server = EmbeddedServer((place if disk is None else disk.path) / "postgres", options=options)
        clocks = build_clocks(place) if scenario.steps_clock else None
        try:
            with clocks[0].inherited() if clocks is not None else contextlib.nullcontext():
                await server.start()
            await server.ensure_database("faults")
            await postgres.migrate(server.dsn("faults"))
            await play(scenario, server, "faults", directory, seed=seed, seconds=seconds, prepare=prepare, disk=disk, clocks=clocks)
            if disk is not None and not scenario.expected:
                await verify(server, "faults", directory)
        finally:
            await server.stop()
    return await judge(directory)


async def verify(server: EmbeddedServer, database: str, directory: Path) -> None:
    """Have Postgres' own programs look for damage: every index and table, then every checksum. The server is stopped after it."""
    connection = await truth.connect(server.dsn(database))
    await connection.execute("CREATE EXTENSION amcheck")
    await connection.close()
    recorder = Recorder(directory, "verify")
    owner = (server.data_dir / "cluster").stat()
    checks = {
        "pg_amcheck": ("--heapallindexed", "--no-strict-names", server.dsn(database)),
        "pg_checksums": ("--check", "-D", str(server.data_dir / "cluster")),
    }
    for program, arguments in checks.items():
        if program == "pg_checksums":
            await server.stop()
        process = await asyncio.create_subprocess_exec(
            packaged_binaries() / program,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
        )
        said, _ = await process.communicate()
        recorder.note("verified", program=program, code=process.returncode, said=said.decode()[-300:])
