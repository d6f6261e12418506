"""Send many events to many endpoints, one of them dead and one slow, and kill the reapers on the way.

python -m tests.webhooks.flood --events 10000 --rate 150 --endpoints 20 --kills 5

Two real reapers, real receivers that verify with the package of the specification. First the events go out undisturbed, and it is measured
how long each took from the time in its row (which is before its commit) to its arrival at the endpoints that answer. Then more of them go
out while the reaper that leads is killed again and again. In the end the dead endpoint and the slow one mend, and every endpoint must have
got every event it wanted, none under two ids. So as not to wait for hours, terms of killed leaders and waits between tries are cut short
in the database then, as if the time had passed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.domain.webhook_signature import SECRET_BYTES, write_secret
from jobqueue.operations import migrations
from jobqueue.operations.jobs import Caller
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.reaper.webhook_sender import CLAIM_S
from jobqueue.store import webhooks as store
from tests.engine import Engine, open_engine, request
from tests.programs import PROGRAM, environment
from tests.webhooks.receiver import Receiver, receiving

API_SECRET: Final = "a secret of at least thirty-two bytes"
SLOW_S: Final = 5.0
P99_S_MAX: Final = 1.0
READY_S_MAX: Final = 60.0
LAST_S_MAX: Final = 120.0
CHUNK_S: Final = 0.05
DEAD, SLOW = 0, 1

PASS_TIME: Final = f"""
UPDATE jobqueue.webhook_delivery SET next_at = clock_timestamp()
WHERE status = 'pending' AND next_at > clock_timestamp() + interval '{CLAIM_S} s';
UPDATE jobqueue.webhook SET resume_at = NULL WHERE resume_at IS NOT NULL
"""
"""Let waits between tries be over, but for those that are being tried."""
END_CLAIMS: Final = "UPDATE jobqueue.webhook_delivery SET next_at = clock_timestamp() WHERE status = 'pending'"
END_TERM: Final = "UPDATE jobqueue.leader SET expires_at = clock_timestamp()"


class Reapers:
    """Reaper processes that are killed and started again."""

    def __init__(self, dsn: str, log: Path) -> None:
        self._settings = environment(
            DATABASE_URL=dsn, API_SECRET_KEY=API_SECRET, JOBQUEUE_METRICS_PORT="0", JOBQUEUE_WEBHOOK_NETWORKS="127.0.0.1"
        )
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def start(self) -> None:
        """Start one more."""
        with self._log.open("ab") as log:
            self._running.append(subprocess.Popen([*PROGRAM, "reaper"], env=self._settings, stdout=log, stderr=log))

    def kill(self) -> None:
        """End the one that delivers, by the work it has done, as a power cut would, and start another one."""
        process = max(self._running, key=lambda one: sum(psutil.Process(one.pid).cpu_times()[:2]))
        self._running.remove(process)
        process.kill()
        process.wait()
        self.kills += 1
        self.start()

    def end(self) -> None:
        """End them all."""
        for process in self._running:
            process.kill()
            process.wait()


class Endpoints:
    """Receivers with what they are expected to get. Endpoint n takes the queues n, n + 1, ... of as many as there are endpoints."""

    def __init__(self, count: int, wanted: int) -> None:
        self.receivers: list[Receiver] = []
        self.expected: list[set[str]] = [set() for _ in range(count)]
        self._count = count
        self._wanted = wanted
        self.is_mended = asyncio.Event()

    def queues(self, number: int) -> list[str]:
        """The queues an endpoint takes."""
        return [f"q{(number + place) % self._count}" for place in range(self._wanted)]

    @contextlib.asynccontextmanager
    async def listening(self, engine: Engine, caller: Caller) -> AsyncIterator[None]:
        """Have them listen, and make a webhook for each."""
        box = SecretBox([API_SECRET])
        async with contextlib.AsyncExitStack() as stack:
            for number in range(self._count):
                secret = bytes([number + 1]) * SECRET_BYTES
                receiver = await stack.enter_async_context(receiving(secret=write_secret(secret), says=self._manner(number)))
                self.receivers.append(receiver)
                row = await store.create(
                    engine.db, caller.tenant_id, url=receiver.url, description=None, event_types=["job.submitted"],
                    queues=self.queues(number), job_types=[], secret_sealed=box.seal(secret), webhooks_max=1_000,
                )  # fmt: skip
                assert row is not None
            yield

    def _manner(self, number: int) -> Any:
        async def never(got: Any) -> int:
            await self.is_mended.wait()
            return 204

        async def late(got: Any) -> int:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.is_mended.wait(), SLOW_S)
            return 204

        return {DEAD: never, SLOW: late}.get(number, lambda got: 204)

    def expect(self, queue: str, job_id: str) -> None:
        """Note who is to get a job's event."""
        for number in range(self._count):
            if queue in self.queues(number):
                self.expected[number].add(job_id)

    def missing(self) -> int:
        """Events that have not come where they are wanted."""
        return sum(len(expected - jobs_of(receiver)) for expected, receiver in zip(self.expected, self.receivers, strict=True))

    def waits_s(self) -> list[float]:
        """How long each delivery to the endpoints that answer took, from the time in the event's row."""
        return [got.at_s - datetime.fromisoformat(got.body["timestamp"]).timestamp() for one in self.receivers[2:] for got in one.got]

    def two_ids(self) -> int:
        """Events that came under more than one id, or ids under which several came."""
        count = 0
        for receiver in self.receivers:
            pairs = {(got.id, got.body["data"]["job"]["id"]) for got in receiver.got}
            count += len(pairs) - min(len({pair[0] for pair in pairs}), len({pair[1] for pair in pairs}))
        return count


def jobs_of(receiver: Receiver) -> set[str]:
    """The jobs a receiver was told of."""
    return {got.body["data"]["job"]["id"] for got in receiver.got}


async def submit(engine: Engine, caller: Caller, endpoints: Endpoints, *, events: int, rate: float, first: int = 0) -> None:
    """Submit jobs at a rate, over all queues in turn; each is one event."""
    begun_s, done = time.monotonic(), 0
    async with engine.submitter() as submitter:
        while done < events:
            due = min(events, int((time.monotonic() - begun_s) * rate) + 1)
            some = [(f"q{(first + number) % len(endpoints.expected)}") for number in range(done, due)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(submitter.submit(caller.tenant_id, request(queue=queue))) for queue in some]
            for queue, task in zip(some, tasks, strict=True):
                endpoints.expect(queue, str(task.result().job_id))
            done = due
            await asyncio.sleep(CHUNK_S)


async def until_whole(engine: Engine, endpoints: Endpoints) -> bool:
    """Wait until all has come, letting time pass for what waits."""
    end_s = time.monotonic() + LAST_S_MAX
    while time.monotonic() < end_s:
        if not endpoints.missing():
            return True
        await engine.raw.execute(PASS_TIME)
        await asyncio.sleep(1.0)
    return False


async def until_told(engine: Engine, caller: Caller, endpoints: Endpoints) -> None:
    """Wait until a first event has come to every endpoint that answers: the reapers are up and one of them leads."""
    for number in range(len(endpoints.expected)):
        endpoints.expect(f"q{number}", str(await engine.submit(caller, queue=f"q{number}")))
    async with asyncio.timeout(READY_S_MAX):
        while not all(expected <= jobs_of(one) for expected, one in zip(endpoints.expected[2:], endpoints.receivers[2:], strict=True)):
            await asyncio.sleep(0.05)
    for receiver in endpoints.receivers:
        receiver.got.clear()


async def answered(endpoints: Endpoints, *, within_s: float) -> None:
    """Wait until the endpoints that answer have got theirs."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if all(expected <= jobs_of(one) for expected, one in zip(endpoints.expected[2:], endpoints.receivers[2:], strict=True)):
            return
        await asyncio.sleep(0.1)


async def run(
    *, events: int, rate: float, endpoints: int, wanted: int, kills: int, gap_s: float, is_term_cut: bool, events_killed: int | None = None
) -> dict[str, Any]:
    """Run it; answers the report. is_term_cut: a killed leader's term ends at once instead of after its 10 s."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-test-webhooks-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        server = EmbeddedServer(Path(directory) / "postgres")
        await server.start()
        reapers = Reapers(server.dsn(), Path(directory) / "reapers.log")
        try:
            await migrations.upgrade(server.dsn())
            async with open_engine(server.dsn(), size=8) as engine:
                caller = await engine.tenant("acme")
                all_of_them = Endpoints(endpoints, wanted)
                async with all_of_them.listening(engine, caller):
                    reapers.start()
                    return await _run(engine, caller, all_of_them, reapers, events, rate, kills, gap_s, is_term_cut, events_killed)
        finally:
            reapers.end()
            await server.stop()


async def _run(
    engine: Engine, caller: Caller, endpoints: Endpoints, reapers: Reapers, events: int, rate: float, kills: int, gap_s: float,
    is_term_cut: bool, events_killed: int | None,
) -> dict[str, Any]:  # fmt: skip
    await until_told(engine, caller, endpoints)
    endpoints.expected = [set() for _ in endpoints.expected]
    cpu_before = reaper_cpu_s(reapers)
    await submit(engine, caller, endpoints, events=events, rate=rate)
    await answered(endpoints, within_s=30)
    waits_s = sorted(endpoints.waits_s())
    cpu_s = reaper_cpu_s(reapers) - cpu_before
    reapers.start()
    if kills:
        more = events_killed or max(1, int(rate * gap_s * kills))
        submitting = asyncio.create_task(submit(engine, caller, endpoints, events=more, rate=more / (gap_s * kills), first=events))
        for _ in range(kills):
            await asyncio.sleep(gap_s)
            reapers.kill()
            if is_term_cut:
                await engine.raw.execute(END_CLAIMS)
                await engine.raw.execute(END_TERM)
        await submitting
    endpoints.is_mended.set()
    is_whole = await until_whole(engine, endpoints)
    p99_s = waits_s[int(len(waits_s) * 0.99)] if waits_s else float("inf")
    counts = [len(one.got) for one in endpoints.receivers]
    good = is_whole and not endpoints.two_ids() and not any(one.refused for one in endpoints.receivers)
    return {
        "verdict": "passed" if good and p99_s <= P99_S_MAX else "failed",
        "events": events,
        "rate": rate,
        "deliveries_measured": len(waits_s),
        "reach_s_p50": round(statistics.median(waits_s), 3) if waits_s else None,
        "reach_s_p99": round(p99_s, 3),
        "reach_s_max": round(waits_s[-1], 3) if waits_s else None,
        "reaper_cpu_ms_per_delivery": round(cpu_s / max(1, len(waits_s)) * 1000, 2),
        "kills": reapers.kills,
        "expected": sum(map(len, endpoints.expected)),
        "received": sum(counts),
        "missing": endpoints.missing(),
        "under_two_ids": endpoints.two_ids(),
        "refused_signatures": sum(one.refused for one in endpoints.receivers),
    }


def reaper_cpu_s(reapers: Reapers) -> float:
    """The processor time of those running."""
    return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in reapers._running)


def main() -> None:
    """Read the command line, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=150)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--wanted", type=int, default=1, help="how many endpoints want each event")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--gap", type=float, default=12.0, help="seconds between two kills")
    asked = parser.parse_args()
    report = asyncio.run(
        run(
            events=asked.events,
            rate=asked.rate,
            endpoints=asked.endpoints,
            wanted=asked.wanted,
            kills=asked.kills,
            gap_s=asked.gap,
            is_term_cut=False,
        )
    )
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if report["verdict"] == "passed" else 1)


if __name__ == "__main__":
    main()
