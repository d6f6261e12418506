"""Draw a run: what was submitted, started and ended each second, with the faults marked. Needs matplotlib."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.faults.history import History, load

mpl.use("Agg")
NS_PER_S: Final = 1_000_000_000
BINS_MAX: Final = 600


def draw(directory: Path) -> Path:
    """Draw DIR/report.png."""
    history = load(directory)
    begun_ns = history.ops[0].at_ns
    seconds = (history.ops[-1].at_ns - begun_ns) / NS_PER_S
    bin_s = max(1.0, seconds / BINS_MAX)
    figure, (rates, waits, faults) = plt.subplots(3, 1, figsize=(16, 11), sharex=True, height_ratios=[3, 2, 3], layout="constrained")
    _draw_rates(rates, history, begun_ns, bin_s)
    _draw_waits(waits, history, begun_ns)
    _draw_faults(faults, history, begun_ns)
    rates.set_title(f"{history.params.title}   seed {history.params.seed}   {len(history.rows)} jobs in {seconds:.0f} s")
    file = directory / "report.png"
    figure.savefig(file, dpi=90)
    plt.close(figure)
    return file


def _draw_rates(axes: Axes, history: History, begun_ns: int, bin_s: float) -> None:
    asked = [call.invoke.data["due"] for call in history.calls("submit") if call.end is not None and call.end.data.get("code") == 201]
    ended = [change.at_ns for change in history.changes if change.table == "outcome" and change.detail == "succeeded"]
    for name, times in (
        ("acknowledged (by when it was due)", asked),
        ("started", [op.at_ns for op in history.notes("start")]),
        ("succeeded", ended),
    ):
        counts = Counter(int((at_ns - begun_ns) / NS_PER_S / bin_s) for at_ns in times)
        bins = range(max(counts, default=0) + 1)
        axes.step([each * bin_s for each in bins], [counts[each] / bin_s for each in bins], where="post", label=name, linewidth=0.9)
    axes.set_ylabel("a second")
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)


def _draw_waits(axes: Axes, history: History, begun_ns: int) -> None:
    done = [call for call in history.calls("submit") if call.kind == "ok" and call.end is not None]
    at_s = [(call.invoke.data["due"] - begun_ns) / NS_PER_S for call in done]
    waited_s = [max(1e-3, (call.end.at_ns - call.invoke.data["due"]) / NS_PER_S) for call in done if call.end is not None]
    axes.plot(at_s, waited_s, ".", markersize=1.2, alpha=0.5)
    axes.set_yscale("log")
    axes.set_ylabel("due to acknowledged, s")
    axes.grid(alpha=0.3)


def _draw_faults(axes: Axes, history: History, begun_ns: int) -> None:
    notes = history.notes("nemesis")
    kinds = sorted({op.data["what"] for op in notes}, reverse=True)
    for place, kind in enumerate(kinds):
        times = [(op.at_ns - begun_ns) / NS_PER_S for op in notes if op.data["what"] == kind]
        axes.plot(times, [place] * len(times), "|", markersize=9)
    axes.set_yticks(range(len(kinds)), [f"{kind} ({sum(op.data['what'] == kind for op in notes)})" for kind in kinds], fontsize=8)
    axes.set_xlabel("seconds")
    axes.grid(alpha=0.3)
