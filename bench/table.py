"""One table of all figures, with what each is of its peers' in the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.box import Box
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """What one contender did in one measurement, round by round. measure ends with its unit: jobs a second, or a time."""

    measure: str
    contender: str
    rounds: Sequence[float]

    @property
    def unit(self) -> str:
        """What it is counted in."""
        return self.measure.rsplit(", ", 1)[1]

    @property
    def median(self) -> float:
        """The figure that counts."""
        return median(self.rounds)


def ratios(figures: Sequence[Figure], figure: Figure, peers: Sequence[str]) -> Mapping[str, float]:
    """Divide a figure by those of its peers in the same measurement."""
    others = {other.contender: other.median for other in figures if other.measure == figure.measure}
    return {peer: figure.median / others[peer] for peer in peers if peer in others and peer != figure.contender}


def render(figures: Sequence[Figure], peers: Sequence[str], *, box: Box) -> Table:
    """Make the table; figures of one measurement stand together."""
    table = Table(box=box)
    table.add_column("measured", no_wrap=True)
    table.add_column("contender", no_wrap=True)
    for heading in ("median", "min - max", *(f"x {peer}" for peer in peers)):
        table.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for figure in figures:
        if last and figure.measure != last:
            table.add_section()
        found = ratios(figures, figure, peers)
        table.add_row(
            figure.measure if figure.measure != last else "",
            figure.contender,
            _number(figure.median, figure),
            f"{_number(min(figure.rounds), figure)} - {_number(max(figure.rounds), figure)}",
            *(f"{found[peer]:.2f}" if peer in found else "" for peer in peers),
        )
        last = figure.measure
    return table


def _number(value: float, figure: Figure) -> str:
    return f"{value:,.0f}" if figure.unit == "jobs/s" else f"{value:.2f}" if figure.unit == "x" else f"{value:.1f}"
