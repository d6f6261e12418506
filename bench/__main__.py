"""Measure jobqueue beside PgQueuer and bare SQL, in one run on one server: `python -m bench --help`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.box import HEAVY_HEAD, MARKDOWN
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import alone, drain, facts, pickup, plots, process, submit, table, wrk
from bench.bare import BareSql
from bench.bare_engine import BareEngine
from bench.bare_rows import BareRows
from bench.contender import Contender
from bench.ours import Jobqueue, JobqueueOverHttp
from bench.peers.awa_pg import AwaPg
from bench.peers.node import GraphileWorker, NodePeer, PgBoss
from bench.peers.pgqueuer import PgQueuer
from bench.peers.procrastinate import Procrastinate
from bench.server import Server, serving
from bench.table import Figure

PARTS: Final = ("submit", "bulk", "import", "drain", "pickup")
LONG_PARTS: Final = ("growth", "idle", "held", "million", "pooler")
"""Measured once, of jobqueue alone, when they are asked for."""
HTTP_BATCHES: Final = 4
"""Connections that send batches; one alone would wait for its answer while the server waits for it."""
PEERS: Final = (PgQueuer.name, BareEngine.name, BareSql.name, BareRows.name)
PEERS_OF: Final[Mapping[str, Callable[[], Contender]]] = {
    "procrastinate": Procrastinate, "awa-pg": AwaPg, "graphile-worker": GraphileWorker, "pg-boss": PgBoss,
}  # fmt: skip
"""More peers, when they are asked for, since each takes its time; those in Node drain only."""
WIDTH: Final = 170
"""Of the table, where no terminal says."""
Series = dict[str, list[tuple[float, float]]]
Measure = Callable[[Server, Contender], Awaitable[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of measurement and who takes part."""

    name: str
    measure: Measure
    contenders: list[Contender]
    is_once: bool = False


def main() -> None:
    """Parse, measure, print the table."""
    arguments = parse()
    figures, found = process.run(run(arguments))
    show(figures, found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found | {"settings": settings(arguments), "figures": as_json(figures)}, indent=2) + "\n")
    if arguments.plots is not None:
        print(*plots.draw(found, arguments.plots))


def show(figures: list[Figure], found: Mapping[str, object]) -> None:
    """Print the table; into a file or a pipe as Markdown, for README.md."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table.render(figures, PEERS, box=HEAVY_HEAD if console.is_terminal else MARKDOWN))
    console.print(caption(found), soft_wrap=True, highlight=False)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which of {','.join(PARTS + LONG_PARTS)}; default the first {len(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="each is taken so often, in turn; medians count (3)")
    parser.add_argument("--seconds", type=float, default=3, help="how long submits go on (3)")
    parser.add_argument("--jobs", type=int, default=100_000, help="how many are drained (100000)")
    parser.add_argument("--rows", type=int, default=100_000, help="how many are imported (100000)")
    parser.add_argument("--samples", type=int, default=100, help="how many pick-ups (100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--peers", type=_names, default=[], help=f"more peers than PgQueuer: {','.join(PEERS_OF)}")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="draw there what was measured, as PNG")
    arguments = parser.parse_args()
    arguments.parts = arguments.parts.split(",")
    if unknown := set(arguments.parts) - {*PARTS, *LONG_PARTS}:
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}; choose of {','.join(PARTS + LONG_PARTS)}")
    return arguments


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - PEERS_OF.keys():
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return names


async def run(arguments: argparse.Namespace) -> tuple[list[Figure], dict[str, object]]:
    """Take all figures; answers them with the facts of the run."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with serving() as server:
        found = facts.gather(await server.version())
        series: dict[str, Series] = {"over_time": {}, "over_size": {}}
        parts = [part for part in make_parts(server, arguments, series) if part.name in arguments.parts]
        steps = [step for part in parts for step in turns(part, 1 if part.is_once else arguments.rounds)]
        taken: dict[tuple[str, str], list[float]] = {}
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            bar = progress.add_task("starting", total=len(steps))
            for part, contender in steps:
                progress.update(bar, description=f"{part.name}: {contender.name}")
                for measure, value in (await part.measure(server, contender)).items():
                    taken.setdefault((measure, contender.name), []).append(value)
                progress.advance(bar)
    return sort(Figure(measure, contender, rounds) for (measure, contender), rounds in taken.items()), found | series


def make_parts(server: Server, arguments: argparse.Namespace, series: dict[str, Series]) -> list[Part]:
    """Say what is measured, and of whom."""
    ours, http, peer, bare, rows = Jobqueue(), JobqueueOverHttp(server.directory), PgQueuer(), BareSql(), BareRows()
    drainers: list[Contender] = [PEERS_OF[name]() for name in arguments.peers]
    others = [contender for contender in drainers if not isinstance(contender, NodePeer)]
    by_wrk = wrk.JobqueueByWrk(server.directory)
    return [
        Part("submit", partial(submit.one_by_one, seconds=arguments.seconds), [http, ours, peer, *others, bare]),
        *([Part("submit", partial(wrk.one_by_one, seconds=arguments.seconds), [by_wrk])] if wrk.is_there() else []),
        Part("bulk", partial(submit.in_batches, seconds=arguments.seconds), [ours, peer, *others, bare, rows]),
        Part("bulk", partial(submit.in_batches, seconds=arguments.seconds, clients=HTTP_BATCHES), [http]),
        Part("import", partial(submit.as_a_file, rows=arguments.rows), [http, bare, rows]),
        Part(
            "drain", partial(drain.drain, jobs=arguments.jobs, over_time=series["over_time"]), [ours, peer, *drainers, BareEngine(), bare]
        ),
        Part("pickup", partial(pickup.pick_up, samples=arguments.samples), [http, ours, peer, *others]),
        *(Part(name, measure, [ours], is_once=True) for name, measure in alone.parts(series["over_size"]).items()),
    ]


def turns(part: Part, rounds: int) -> Iterator[tuple[Part, Contender]]:
    """Order one part's measurements: all contenders in each round, every other round backwards, so that drift of the machine hits all."""
    for number in range(rounds):
        for contender in part.contenders if number % 2 == 0 else reversed(part.contenders):
            yield part, contender


def sort(figures: Iterator[Figure]) -> list[Figure]:
    """Put figures of one measurement together, in the order in which they were taken first."""
    listed = list(figures)
    measures = list(dict.fromkeys(figure.measure for figure in listed))
    return sorted(listed, key=lambda figure: measures.index(figure.measure))


def caption(found: Mapping[str, object]) -> str:
    """Say below the table what it was taken on."""
    shown = {key: value for group in ("machine", "versions") for key, value in dict(found[group]).items()}  # type: ignore[call-overload]
    return f"{' · '.join(f'{key} {value}' for key, value in shown.items())} · commit {found['commit']}"


def settings(arguments: argparse.Namespace) -> dict[str, object]:
    """What was asked for."""
    return {name: getattr(arguments, name) for name in ("parts", "rounds", "seconds", "jobs", "samples")}


def as_json(figures: list[Figure]) -> list[dict[str, object]]:
    """Every figure with its rounds and ratios."""
    return [
        {
            "measure": figure.measure,
            "contender": figure.contender,
            "unit": figure.unit,
            "median": figure.median,
            "rounds": list(figure.rounds),
            "ratios": dict(table.ratios(figures, figure, PEERS)),
        }
        for figure in figures
    ]


if __name__ == "__main__":
    main()
