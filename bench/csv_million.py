"""A CSV of a million rows through csv_validate and csv_correct: `python -m bench.csv_million [--rows N] [--json FILE]`.

Each run is a process of its own, so that its peak memory is its own; `import` is one that only loads the handlers, the floor of the
others. Memory is ru_maxrss: everything resident, SQLite's cache for `unique` included.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.process import ROOT

TENANT: Final = "bench"
SEED: Final = 20_240_601
KIB_PER_MIB: Final = 1024

RULES: Final[dict[str, Any]] = {
    "id": {"required": True, "type": "integer", "min": 0},
    "name": {"required": True, "max_length": 20},
    "price": {"type": "number", "min": 0, "max": 999_999.99},
    "day": {"type": "date", "min": "1990-01-01", "max": "2029-12-31"},
    "code": {"pattern": "[A-C][0-9]{3}"},
}
UNIQUE: Final[dict[str, Any]] = {**RULES, "id": {**RULES["id"], "unique": True}}
CORRECTIONS: Final[dict[str, Any]] = {
    "name": {"trim": True, "case": "title"},
    "price": {"number": {"decimal": ",", "thousands": "."}},
    "day": {"date": {"formats": ["%d/%m/%Y"]}},
}
RUNS: Final[dict[str, tuple[str, dict[str, Any]] | None]] = {
    "import": None,
    "csv_correct": ("csv_correct", {"path": "raw.csv", "output": "clean.csv", "corrections": CORRECTIONS}),
    "csv_validate": ("csv_validate", {"path": "clean.csv", "rules": RULES}),
    "csv_validate, unique": ("csv_validate", {"path": "clean.csv", "rules": UNIQUE}),
    "csv_validate, all bad": ("csv_validate", {"path": "raw.csv", "rules": RULES}),
    "csv_correct and validate": ("csv_correct", {"path": "raw.csv", "output": "both.csv", "corrections": CORRECTIONS, "rules": UNIQUE}),
}


def write_raw(path: Path, rows: int) -> None:
    """Write a CSV that needs every correction in every row."""
    chance = random.Random(SEED)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,name,city,price,day,code\n")
        for at in range(rows):
            price = f"{chance.randrange(1, 1000)}.{chance.randrange(1000):03d},{chance.randrange(100):02d}"
            day = f"{chance.randrange(1, 29):02d}/{chance.randrange(1, 13):02d}/{chance.randrange(1990, 2030)}"
            code = f"{chance.choice('ABC')}{chance.randrange(1000):03d}"
            file.write(f'{at}, name {chance.randrange(10**6)} ,"City, {chance.randrange(1000)}","{price}",{day},{code}\n')


def run_here(name: str, root: str) -> None:
    """Run one handler in this process and print its figures."""
    from jobqueue.worker.files import Files
    from jobqueue.worker.handlers import BUILTIN

    class Context:
        cancelled = False
        files = Files(root, TENANT)

        def progress(self, percent: float, message: str = "") -> None:
            pass

    seconds, cpu_s, told = 0.0, 0.0, {}
    if (job := RUNS[name]) is not None:
        spec = next(spec for spec in BUILTIN if spec.name == job[0])
        arguments = spec.parse(json.dumps(job[1]))
        began, cpu_began = time.perf_counter(), time.process_time()
        result = spec.function(Context(), **arguments)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        told = {
            key: value for key, value in result.items() if key in ("rows", "valid", "invalid", "values_changed", "rows_changed", "by_rule")
        }
        told |= {"validation": {"invalid": result["validation"]["invalid"]}} if "validation" in result else {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak_mib = used.ru_maxrss / KIB_PER_MIB
    print(json.dumps({"run": name, "seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_mib": round(peak_mib, 1), "told": told}))


def main() -> None:
    """Run them all, or as a child one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=2, metavar=("NAME", "ROOT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run_here(*given.run)
        return
    table = Table(title=f"a CSV of {given.rows:,} rows")
    for heading in ("run", "seconds", "CPU s", "rows/s", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    figures = []
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / TENANT).mkdir()
        raw = Path(root) / TENANT / "raw.csv"
        write_raw(raw, given.rows)
        for name in RUNS:
            command = [sys.executable, "-m", "bench.csv_million", "--run", name, root]
            said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
            figure = json.loads(said)
            figures.append(figure)
            speed = f"{given.rows / figure['seconds']:,.0f}" if figure["seconds"] else ""
            table.add_row(name, f"{figure['seconds']:.1f}", f"{figure['cpu_s']:.1f}", speed, f"{figure['peak_mib']:.1f}")
        size = raw.stat().st_size
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps({"rows": given.rows, "bytes": size, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
