"""Judge a run by its files, in a process of its own.

    python -m tests.faults.check DIR

Writes DIR/report.json and DIR/report.txt. Exit codes: 0 passed; 1 an anomaly, or files that cannot be judged; 2 wrong usage; 3 unknown: no
anomaly, but something the run was to cause never happened, so it proves nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from tests.faults import checks, measures
from tests.faults.findings import Finding
from tests.faults.history import BrokenHistory, History, load

PASSED, FAILED, USAGE, UNKNOWN = 0, 1, 2, 3
SHOWN_MAX: Final = 10
"""Findings of one anomaly that the report quotes."""


@dataclass
class Verdict:
    """What became of a run. missing: counters that were to be above zero; absent: anomalies that a control was to show."""

    title: str
    seed: int
    findings: list[Finding]
    counters: dict[str, int]
    figures: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code."""
        seen = {finding.anomaly for finding in self.findings}
        if self.expected:
            return PASSED if set(self.expected) <= seen else FAILED
        if seen:
            return FAILED
        return UNKNOWN if self.missing else PASSED

    @property
    def word(self) -> str:
        """The exit code as a word."""
        return {PASSED: "passed", FAILED: "failed", UNKNOWN: "unknown"}[self.code]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        anomalies = Counter(finding.anomaly for finding in self.findings)
        return {
            "verdict": self.word,
            "title": self.title,
            "seed": self.seed,
            "anomalies": dict(anomalies),
            "expected": self.expected,
            "missing": self.missing,
            "figures": self.figures,
            "counters": dict(sorted(self.counters.items())),
            "findings": [finding.what for finding in self._shown()],
        }

    def as_text(self) -> str:
        """Everything, for people."""
        lines = [f"{self.title or 'run'}: {self.word.upper()}   seed {self.seed}"]
        for anomaly, count in sorted(Counter(finding.anomaly for finding in self.findings).items()):
            lines.append(f"  {anomaly}: {count}" + (" (expected)" if anomaly in self.expected else ""))
        lines += [f"    {finding.anomaly}: {finding.what}" for finding in self._shown()]
        lines += [f"  never happened: {name}" for name in self.missing]
        for name, figure in self.figures.items():
            words = ", ".join(f"{part} {value}" for part, value in figure.items()) if isinstance(figure, dict) else figure
            lines.append(f"  {name}: {words}")
        lines.append("  " + ", ".join(f"{name} {count}" for name, count in sorted(self.counters.items()) if count))
        return "\n".join(lines) + "\n"

    def _shown(self) -> list[Finding]:
        shown: Counter[str] = Counter()
        kept = []
        for finding in self.findings:
            shown[finding.anomaly] += 1
            if shown[finding.anomaly] <= SHOWN_MAX:
                kept.append(finding)
        return kept


def judge(history: History) -> Verdict:
    """Decide every anomaly, count what happened."""
    findings = [finding for check in checks.ALL for finding in check(history)]
    counters = measures.counters(history)
    params = history.params
    missing = [name for name in params.sometimes if not counters.get(name, 0)]
    return Verdict(params.title, params.seed, findings, counters, measures.figures(history), missing, params.expected)


def main(arguments: list[str]) -> int:
    """Judge one directory."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.check")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args(arguments).directory
    try:
        verdict = judge(load(directory))
    except (BrokenHistory, FileNotFoundError) as error:
        sys.stderr.write(f"{directory}: {error}\n")
        return FAILED
    (directory / "report.json").write_bytes(orjson.dumps(verdict.as_json(), option=orjson.OPT_INDENT_2))
    (directory / "report.txt").write_text(verdict.as_text())
    sys.stdout.write(verdict.as_text())
    return verdict.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
