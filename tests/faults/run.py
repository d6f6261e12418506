"""Run fault tests by name: `python -m tests.faults.run [--only T01 ...] [--seconds N | --cycles N] [--seed N] [--out DIR]`.

Prints the seed, plays each scenario on a server of its own, has the checker judge its files, and says which pass figures were met. Exit
codes: 0 all passed, 1 an anomaly or an unmet figure, 2 wrong usage, 3 unknown (something it was to cause never happened).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from tests.faults.cgroup import NoControlGroups
from tests.faults.check import FAILED, PASSED, UNKNOWN
from tests.faults.clocks import NoShim
from tests.faults.netns import NoNamespaces
from tests.faults.play import Scenario, play_on_own_server
from tests.faults.power import NoPowerToCut
from tests.faults.scenarios import SCENARIOS


async def run_one(name: str, scenario: Scenario, directory: Path, *, seed: int, seconds: float | None) -> int:
    """Play and judge one scenario; answers its exit code."""
    say(f"== {name}: {scenario.title}; seed {seed}, files in {directory}")
    try:
        report = await play_on_own_server(scenario, directory, seed=seed, seconds=seconds)
    except (NoPowerToCut, NoNamespaces, NoControlGroups, NoShim) as error:
        say(f"  skipped: {error}")
        return UNKNOWN
    say((directory / "report.txt").read_text())
    unmet = scenario.passes(report)
    for figure in unmet:
        say(f"  NOT MET: {figure}")
    (directory / "figures.json").write_bytes(orjson.dumps({"unmet": unmet}))
    plot(directory)
    if report["verdict"] == "failed" or unmet:
        return FAILED
    return PASSED if report["verdict"] == "passed" else UNKNOWN


def plot(directory: Path) -> None:
    """Draw the run where matplotlib is installed."""
    try:
        from tests.faults import plot as plotter
    except ModuleNotFoundError:
        say("  no plot: matplotlib is not installed (it is in the group `bench`)")
        return
    say(f"  plot: {plotter.draw(directory)}")


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(arguments: argparse.Namespace) -> int:
    """Run what was asked for, one after the other; answers the worst exit code."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that nothing is left behind
    seed = arguments.seed or random.SystemRandom().randrange(1, 1 << 30)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="jobqueue-faults-"))
    worst = PASSED
    for name in arguments.only or ["all"]:
        scenario = SCENARIOS[name]
        seconds = arguments.seconds
        if arguments.cycles:
            seconds = arguments.cycles * scenario.cycle_s
        directory = out / name
        directory.mkdir(parents=True, exist_ok=False)
        code = await run_one(name, scenario, directory, seed=seed, seconds=seconds)
        worst = FAILED if FAILED in (worst, code) else max(worst, code)
        say(f"== {name}: {'PASSED' if code == PASSED else 'FAILED' if code == FAILED else 'UNKNOWN'}")
    return worst


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run")
    parser.add_argument("--only", nargs="+", choices=sorted(SCENARIOS))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, help="where the files of the run go; kept")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    asked: Any = parse(sys.argv[1:])
    if asked.list:
        for key, each in SCENARIOS.items():
            say(f"{key:12} {each.title}")
        sys.exit(0)
    sys.exit(asyncio.run(main(asked)))
