"""Pictures of a run: how fast each contender drained as time went by, and what a claim costs as what waits grows.

python -m bench.plots FIGURES.json DIRECTORY        from the file that `python -m bench --json` wrote
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

SIZE_INCHES: Final = (8.0, 4.5)
DPI: Final = 120
SLOT_S: Final = 0.1
"""Jobs are counted by tenths of a second."""

Series = Mapping[str, Sequence[tuple[float, float]]]


def draw(found: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw what the figures have; answers the files."""
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    if over_time := found.get("over_time"):
        made.append(
            _lines(
                over_time,
                directory / "throughput.png",
                title="Draining waiting no-op jobs with one worker process",
                labels=("seconds since the first job ended", "jobs a second"),
            )
        )
    if over_size := found.get("over_size"):
        made.append(
            _lines(
                over_size,
                directory / "claim_cost.png",
                title="A claim of 100 jobs as everything grows",
                labels=("jobs waiting, tenants or types", "ms, median"),
                is_logarithmic=True,
            )
        )
    return made


def rates(ended_s: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Turn (slot, jobs that ended in it) into (seconds since the first one, jobs a second)."""
    if not ended_s:
        return []
    first = min(slot for slot, _ in ended_s)
    counts = dict(ended_s)
    return [((slot - first) * SLOT_S, counts.get(slot, 0) / SLOT_S) for slot in range(first, max(counts) + 1)]


def _lines(series: Series, path: Path, *, title: str, labels: tuple[str, str], is_logarithmic: bool = False) -> Path:
    from matplotlib.figure import Figure  # slow to import, and most runs draw nothing

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI)
    axes = figure.add_subplot()
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), label=name, marker="o" if is_logarithmic else None)
    axes.set_title(title)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_ylim(bottom=0)
    if is_logarithmic:
        axes.set_xscale("log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    return path


if __name__ == "__main__":
    for picture in draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])):
        print(picture)
