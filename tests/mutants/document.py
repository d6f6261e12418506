"""Write docs/mutants.md from the catalogue: `python -m tests.mutants.document`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.mutants.catalogue import MUTANTS

TARGET: Final = Path(__file__).parents[2] / "docs" / "mutants.md"
ELSEWHERE: Final = (
    ("M9, M10", "`fsync` and `synchronous_commit` off under a power cut", "`make faults`, where root may cut a loop device off (T06)"),
    (
        "M15",
        "leases of a batch are locked in order",
        "`test_orders.py`; the delete walks its ids in the index's order, so there is no line to take out",
    ),
    ("M19", "a pool that resets what it hands on", "does not apply: connections carry no session state"),
)
HEAD: Final = """# Mutants: the suite is trusted because it catches these

Written by `tests/mutants/document.py` from `tests/mutants/catalogue.py`; a test holds it to that. Each mutant is the product without one
guard, made at test time from a patch of the source (one that does not apply any more fails by itself). Its check is a test of the suite:
`test_mutant_is_caught` runs it on the product, where it must pass, and on the mutant, where it must fail. `make test-mutants` runs all of
them, `make test` the {quick} that have a letter and take no more than a moment.
"""


def render() -> str:
    """Make the document."""
    quick = sum(mutant.is_quick for mutant in MUTANTS)
    lines = [
        HEAD.format(quick=quick),
        f"**{len(MUTANTS)} of {len(MUTANTS)} caught** (the run fails otherwise).\n",
        "| mutant | | what it lacks | in | caught by |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {mutant.name} | {mutant.letter} | {mutant.guard} | `{mutant.patch.where}` | `{mutant.check.name.removeprefix('tests/')}` |"
            for mutant in MUTANTS
        ),
        "\n## Held elsewhere\n",
        "| | guard | where |",
        "| --- | --- | --- |",
        *(f"| {letter} | {guard} | {where} |" for letter, guard, where in ELSEWHERE),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
