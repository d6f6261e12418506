"""Draw the day of tests/deployed/scaling.py: the load, the workers, what waits; into docs/scaling.png."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import matplotlib as mpl

from tests.deployed.scaling import RUN_S, SLOTS, compare, rates, table
from tests.deployed.telling import say

TARGET: Final = Path(__file__).parents[2] / "docs" / "scaling.png"
STEP: Final = 30
"""Seconds between the points drawn."""


def main() -> int:
    """Draw, and print the table."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    found = compare()
    load = rates()
    hours = [now / 3600 for now in range(0, len(load), STEP)]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(10, 6.5), constrained_layout=True)
    above.fill_between(
        hours, [rate * RUN_S / SLOTS for rate in load[::STEP]], step="post", color="0.85", label="workers that are busy by the load"
    )
    for name, seen in found.items():
        above.plot(hours, seen.workers[::STEP], drawstyle="steps-post", label=f"{name} ({seen.worker_hours:.0f} worker-hours)")
        below.plot(hours, [max(1, ready) for ready in seen.ready[::STEP]], label=f"{name} (wait p99 {seen.wait_s(0.99)} s)")
    above.set_ylabel("workers")
    below.set_ylabel("jobs that wait")
    below.set_yscale("log")
    below.set_xlabel("hour of the day")
    below.set_xlim(0, 24)
    for axes in (above, below):
        axes.legend(loc="upper left", fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(TARGET, dpi=110, metadata={"Software": None})
    say(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
