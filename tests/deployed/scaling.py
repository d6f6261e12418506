"""Scale workers over a day by `desired_workers`, the product's own function, and compare with fleets of a fixed size.

    python -m tests.deployed.scaling            the table
    python -m tests.deployed.plot_scaling       the table, and docs/scaling.png

The day is day.csv: steps up in the morning, a burst of ten minutes, evening, night. Second by second jobs arrive by chance (Poisson),
start in order where a slot is free, and end by chance after 4 s in the mean. Every 15 s the scaler reads what `GET /v1/stats` would say
(what waits and runs, arrivals over the last minute, the mean run) and does what the HPA of k8s/ does with it: up at once, by Kubernetes'
own steps; down to the highest number of the last ten minutes; not at all within a tenth. A worker takes 30 s to start and drains before
it goes; both are paid for. With five minutes in place of ten chance alone makes the fleet shrink and grow again.
"""

from __future__ import annotations

import csv
import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from jobqueue.domain.scaling import Load, desired_workers
from jobqueue.operations.queues import RATE_WINDOW_S
from tests.deployed.telling import say

DAY: Final = Path(__file__).parent / "day.csv"
DAY_S: Final = 24 * 3600
RUN_S: Final = 4.0
SLOTS: Final = 50
"""Jobs a worker runs at once."""
START_S: Final = 30
"""From the decision until a new worker claims: schedule, pull, start."""
DRAIN_S: Final = 10
"""What a worker that goes is paid for: it finishes what it runs."""
POLL_S: Final = 15
WORKERS_MIN: Final = 2
WORKERS_MAX: Final = 20
STABLE_S: Final = 600
"""scaleDown.stabilizationWindowSeconds."""
TOLERANCE: Final = 0.1
UP_PODS: Final = 4
"""Kubernetes' own bound of a step up: the larger one of this and doubling, each 15 s."""
FLAP_S: Final = 900
"""A step down and one up again within this, while the load did not rise, is flapping."""


def rates() -> list[float]:
    """Jobs a second at each second of the day."""
    with DAY.open() as file:
        rows = [(int(row["from_minute"]) * 60, float(row["jobs_per_second"])) for row in csv.DictReader(file)]
    found: list[float] = []
    for (start, rate), (end, _) in zip(rows, [*rows[1:], (DAY_S, 0.0)], strict=True):
        found += [rate] * (end - start)
    return found


@dataclass
class Seen:
    """A day of one fleet, second by second."""

    workers: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    waits: dict[int, int] = field(default_factory=dict)
    """Seconds waited -> jobs."""
    paid_s: float = 0.0

    @property
    def worker_hours(self) -> float:
        """What the fleet cost."""
        return self.paid_s / 3600

    def wait_s(self, share: float) -> int:
        """The wait that this share of the jobs did not exceed."""
        left = share * sum(self.waits.values())
        for waited in sorted(self.waits):
            left -= self.waits[waited]
            if left <= 0:
                return waited
        return max(self.waits)


class Scaler:
    """The HPA on the product's number."""

    def __init__(self) -> None:
        self._asked: deque[tuple[int, int]] = deque()

    def __call__(self, now: int, workers: int, load: Load) -> int:
        """Answer how many workers there shall be."""
        wanted = min(max(desired_workers(load), WORKERS_MIN), WORKERS_MAX)
        if abs(wanted / workers - 1) <= TOLERANCE:
            wanted = workers
        self._asked.append((now, wanted))
        while self._asked[0][0] < now - STABLE_S:
            self._asked.popleft()
        if wanted > workers:
            return min(wanted, max(workers + UP_PODS, workers * 2))
        return min(workers, max(asked for _, asked in self._asked))


def fixed(size: int) -> Callable[[int, int, Load], int]:
    """A fleet that never changes."""
    return lambda _now, _workers, _load: size


def live(scaler: Callable[[int, int, Load], int], *, start_with: int, seed: int = 1) -> Seen:
    """Live through the day with a scaler."""
    chance = np.random.default_rng(seed)
    arrivals = chance.poisson(rates())
    seen = Seen()
    waiting: deque[list[int]] = deque()
    ready = running = 0
    workers, starting = start_with, deque[tuple[int, int]]()
    for now in range(DAY_S):
        running -= int(chance.binomial(running, 1 - math.exp(-1 / RUN_S))) if running else 0
        if arrivals[now]:
            waiting.append([now, int(arrivals[now])])
            ready += int(arrivals[now])
        while starting and starting[0][0] <= now:
            starting.popleft()
        up = workers - sum(count for _, count in starting)
        started = _start(waiting, min(ready, max(0, up * SLOTS - running)), now, seen)
        ready, running = ready - started, running + started
        if now % POLL_S == 0:
            window = arrivals[max(0, now - int(RATE_WINDOW_S)) : now]
            load = Load(ready, running, float(window.mean()) if len(window) else 0.0, RUN_S, SLOTS)
            wanted = scaler(now, workers, load)
            if wanted > workers:
                starting.append((now + START_S, wanted - workers))
            seen.paid_s += max(0, workers - wanted) * DRAIN_S
            workers = wanted
        seen.workers.append(workers)
        seen.ready.append(ready)
        seen.paid_s += workers
    return seen


def _start(waiting: deque[list[int]], count: int, now: int, seen: Seen) -> int:
    """Start so many jobs, the oldest first, and note how long they waited."""
    left = count
    while left:
        taken = min(left, waiting[0][1])
        seen.waits[now - waiting[0][0]] = seen.waits.get(now - waiting[0][0], 0) + taken
        waiting[0][1] -= taken
        left -= taken
        if not waiting[0][1]:
            waiting.popleft()
    return count


def flaps(seen: Seen) -> list[int]:
    """The moments at which a fleet grew again soon after it had shrunk, although the load had not risen in between."""
    load = rates()
    found: list[int] = []
    shrunk_at: int | None = None
    for now in range(1, DAY_S):
        change = seen.workers[now] - seen.workers[now - 1]
        if change < 0:
            shrunk_at = now
        elif change > 0 and shrunk_at is not None and now - shrunk_at <= FLAP_S and max(load[shrunk_at : now + 1]) <= load[shrunk_at]:
            found.append(now)
    return found


def compare() -> dict[str, Seen]:
    """The scaled fleet, one as large as its peak, and one that costs the same."""
    scaled = live(Scaler(), start_with=WORKERS_MIN)
    peak, mean = max(scaled.workers), math.ceil(scaled.worker_hours / 24)
    return {
        "scaled by desired_workers": scaled,
        f"fixed, {peak}: its peak": live(fixed(peak), start_with=peak),
        f"fixed, {mean}: its cost": live(fixed(mean), start_with=mean),
    }


def table(found: dict[str, Seen]) -> str:
    """Waits and cost of each fleet, as Markdown."""
    lines = ["| fleet | wait p50 | p99 | p99.9 | longest | worker-hours | changes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, seen in found.items():
        changes = sum(before != after for before, after in zip(seen.workers, seen.workers[1:], strict=False))
        waits = " | ".join(f"{seen.wait_s(share)} s" for share in (0.5, 0.99, 0.999, 1.0))
        lines.append(f"| {name} | {waits} | {seen.worker_hours:.0f} | {changes} |")
    return "\n".join(lines)


def main() -> int:
    """Tell; 0 when nothing flapped."""
    found = compare()
    say(table(found))
    flapped = flaps(found["scaled by desired_workers"])
    say(f"grew again within {FLAP_S} s of shrinking under a load that had not risen: {len(flapped)} times")
    return 1 if flapped else 0


if __name__ == "__main__":
    sys.exit(main())
