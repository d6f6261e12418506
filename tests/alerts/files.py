"""What deploy/ holds: the queries of its panels and alerts, and the names of the metrics in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "runbook"
RULES: Final = DEPLOY / "prometheus" / "rules" / "jobqueue.yml"
RULE_TESTS: Final = DEPLOY / "prometheus" / "tests" / "jobqueue_test.yml"
DASHBOARDS: Final = DEPLOY / "grafana" / "dashboards"
BOUND: Final = re.compile(r"(.*) (?:>|<) ([0-9.]+)")
"""An alert: what is watched, a comparison, a number."""
WORDS: Final = frozenset({"sum", "max", "min", "rate", "delta", "topk", "by", "or", "le", "vector", "histogram_quantile"})
STRINGS: Final = re.compile(r'"[^"]*"')
GROUPING: Final = re.compile(r"\bby \([^)]*\)")
MATCHERS: Final = re.compile(r"\{[^}]*\}")
WINDOWS: Final = re.compile(r"\[[^]]*\]")
NAMES: Final = re.compile(r"[a-z_][a-z0-9_]*")


class Asked(NamedTuple):
    """One query and where it stands."""

    where: str
    expr: str


def alerts() -> list[dict[str, Any]]:
    """Read the rules."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def watched(rule: dict[str, Any]) -> str:
    """What an alert watches, without its bound."""
    match = BOUND.fullmatch(rule["expr"])
    assert match is not None, f"{rule['alert']} is not `<what is watched> <comparison> <bound>`"
    return match[1]


def panels() -> Iterator[Asked]:
    """Read the queries of all panels, their variables filled in as Grafana does at first."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "1m").replace("$queue", ".*").replace("$tenant", ".*")
                yield Asked(f"{file.stem}: {panel['title']}", expr)


def queries() -> list[Asked]:
    """All queries of panels and alerts."""
    return [*panels(), *(Asked(f"alert {rule['alert']}", watched(rule)) for rule in alerts())]


def metrics_in(expr: str) -> set[str]:
    """Name the metrics a query reads."""
    bare = STRINGS.sub("", expr)
    for part in (GROUPING, MATCHERS, WINDOWS):
        bare = part.sub("", bare)
    return set(NAMES.findall(bare)) - WORDS
