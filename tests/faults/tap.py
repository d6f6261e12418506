"""A Backend that writes down every call, and stops or kills its own worker at named points. The product knows nothing of it.

Points: claim.after (leases are held, nobody has been told), handler (in the middle of a run), settle.before and settle.after (around the
call that reports). JOBQUEUE_FAULTS_POINTS says what happens at which, as JSON: {"settle.before": ["stop", 0.02]} stops the process there
twice in a hundred; `kill` ends it. "prove": true has a process that was stopped for longer than its lease send a beat, a progress and a
settle under the token it held, as one would that does not fence itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.lease import Beat, BeatStatus, Lease, Settled, Settlement
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.worker.backend import Backend
from tests.faults.record import DIRECTORY, Recorder, now_ns

VARIABLE: Final = "JOBQUEUE_FAULTS_POINTS"
HEALED: Final = "healed"
"""A file of this name in the run's directory ends all faults that processes do to themselves."""
WORKER: Final = "JOBQUEUE_FAULTS_WORKER"
"""The worker's own process id: points are for it, not for the processes of its isolated runs."""
SIGNALS: Final = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}


class Points:
    """What this process does to itself, and where."""

    def __init__(self, asked: dict[str, Any], recorder: Recorder | None) -> None:
        self._proves = bool(asked.pop("prove", False))
        self._asked: dict[str, tuple[str, float]] = {name: (act, chance) for name, (act, chance) in asked.items()}
        self._recorder = recorder
        self._random = random.Random(os.getpid())
        self.prove: Callable[[Lease | Settlement], Any] | None = None

    @classmethod
    @cache
    def of_this_process(cls) -> Self:
        """Read from the environment, once."""
        return cls(json.loads(os.environ.get(VARIABLE, "{}")), Recorder.of_this_process())

    async def reach(self, name: str, held: Sequence[Lease | Settlement]) -> None:
        """Come past a point, holding these."""
        act, chance = self._asked.get(name, ("", 0.0))
        if not held or self._recorder is None or os.environ.get(WORKER) != str(os.getpid()) or self._random.random() >= chance:
            return
        if (Path(os.environ[DIRECTORY]) / HEALED).exists():
            return
        self._recorder.note("nemesis", what=f"{act}_at_{name}", target=self._recorder.process, job=str(held[0].job_id))
        stopped_ns = now_ns()
        os.kill(os.getpid(), SIGNALS[act])
        stopped_s = (now_ns() - stopped_ns) / 1e9
        self._recorder.note("resumed", seconds=stopped_s)
        lease_s = float(os.environ.get("JOBQUEUE_LEASE_SECONDS", "30"))
        holds_lease = name != "settle.after"  # what was settled is nobody's to take: a settle sent again is `replayed`
        if self._proves and holds_lease and self.prove is not None and stopped_s > 1.5 * lease_s:
            await self.prove(held[0])


class Tap:
    """A Backend around the real one."""

    def __init__(self, inner: Backend, recorder: Recorder, points: Points) -> None:
        self._inner = inner
        self._recorder = recorder
        self._points = points

    def __getattr__(self, name: str) -> Any:
        """What is not recorded is the real one's."""
        return getattr(self._inner, name)

    async def open(self) -> None:
        await self._inner.open()
        self._recorder.note("opened")

    async def close(self) -> None:
        await self._inner.close()

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        self._points.prove = self.prove  # the one that claims also settles
        number = self._recorder.invoke("claim", n=jobs_max)
        try:
            leases = await self._inner.claim(jobs_max=jobs_max)
        except BaseException as error:
            self._recorder.end(number, "info", "claim", err=type(error).__name__)
            raise
        told = [[str(lease.job_id), str(lease.token), lease.standing.attempt, lease.tenant] for lease in leases]
        self._recorder.end(number, "ok", "claim", leases=told)
        await self._points.reach("claim.after", leases)
        return leases

    async def wait(self, *, timeout_s: float) -> None:
        await self._inner.wait(timeout_s=timeout_s)

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        if not beats:
            return await self._inner.heartbeat(beats)
        number = self._recorder.invoke("beat", items=[[str(beat.job_id), str(beat.token)] for beat in beats])
        try:
            statuses = await self._inner.heartbeat(beats)
        except BaseException as error:
            self._recorder.end(number, "info", "beat", err=type(error).__name__)
            raise
        self._recorder.end(number, "ok", "beat", answers=[status.value for status in statuses])
        return statuses

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        await self._points.reach("settle.before", settlements)
        answers = await self._settle(settlements)
        await self._points.reach("settle.after", settlements)
        return answers

    async def _settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        items = [[str(each.job_id), str(each.token), each.outcome.kind.value] for each in settlements]
        number = self._recorder.invoke("settle", items=items)
        try:
            answers = await self._inner.settle(settlements)
        except BaseException as error:
            self._recorder.end(number, "info", "settle", err=type(error).__name__)
            raise
        self._recorder.end(number, "ok", "settle", answers=[[answer.status.value, answer.next_status] for answer in answers])
        return answers

    async def prove(self, held: Lease | Settlement) -> None:
        """Send what a worker would that has slept through its lease and does not know."""
        number = self._recorder.invoke("stale", job=str(held.job_id), token=str(held.token))
        outcome = Outcome(OutcomeKind.SUCCEEDED, result_json='{"run": "stale"}', ran_s=1.0)
        for _ in range(20):
            try:
                beat = await self.heartbeat([Beat(held.job_id, held.token, 1.0)])
                progress = await self.heartbeat([Beat(held.job_id, held.token, 1.0, 99.0, "stale")])
                settle = await self._settle([Settlement(held.job_id, held.token, held.standing, outcome, held.key_id)])
            except JobQueueError:  # its connections may have gone while it slept
                await asyncio.sleep(0.25)
                continue
            self._recorder.end(number, "ok", "stale", beat=beat[0].value, progress=progress[0].value, settle=settle[0].status.value)
            return


def tapped(opener: Callable[[], Backend], recorder: Recorder) -> Callable[[], Backend]:
    """Make an opener whose backends are recorded."""
    return lambda: Tap(opener(), recorder, Points.of_this_process())
