"""Dashboards, alert rules and runbooks fit each other and the metrics there are. `make test-alerts` asks a real Prometheus."""

from __future__ import annotations

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from scripts import dashboards
from tests.alerts.files import RULE_TESTS, RUNBOOK, Asked, alerts, metrics_in, queries
from tests.unit.telemetry.test_metrics import fed, tell_everything

PROMETHEUS_OWN = {"up"}
RULES = alerts()


@pytest.fixture(scope="module")
def shown() -> set[str]:
    """The names of all series the product shows."""
    metrics, telemetry = fed()
    tell_everything(telemetry)
    return {sample.name for family in text_string_to_metric_families(metrics.render().decode()) for sample in family.samples}


def test_names_of_metrics_are_found_in_a_query() -> None:
    expr = '(sum by (le, role) (rate(a_total{status=~"5..|by_b"}[5m])) or vector(0)) / max(c) + topk(5, sum by (x) (d{y="$z"}))'
    assert metrics_in(expr) == {"a_total", "c", "d"}


@pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.where)
def test_query_reads_metrics_that_there_are(asked: Asked, shown: set[str]) -> None:
    found = metrics_in(asked.expr)
    assert found
    assert found <= shown | PROMETHEUS_OWN


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_dashboard_is_what_its_program_writes(name: str) -> None:
    assert (dashboards.TARGET / f"{name}.json").read_text("utf-8") == dashboards.text(name), "run python -m scripts.dashboards"


def test_panels_do_not_lie_on_each_other() -> None:
    for name in dashboards.DASHBOARDS:
        places = [panel["gridPos"] for panel in dashboards.page(name)["panels"]]
        cells = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert len(cells) == len(set(cells)), name
        assert max(x for x, _ in cells) < dashboards.COLUMNS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, dict[str, str]]) -> None:
    page = RUNBOOK / rule["annotations"]["runbook_url"].rpartition("/")[2]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook/{page.name}"
    assert page.read_text("utf-8").startswith(f"# {rule['alert']}\n")
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["for"]


def test_every_page_of_the_runbook_has_an_alert_and_is_listed() -> None:
    pages = {page.name for page in RUNBOOK.glob("*.md")} - {"README.md"}
    assert pages == {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in RULES}
    index = (RUNBOOK / "README.md").read_text("utf-8")
    assert all(f"({page})" in index for page in pages)


def test_each_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    tests = yaml.safe_load(RULE_TESTS.read_text("utf-8"))["tests"]
    fires = {case["alertname"]: bool(case["exp_alerts"]) for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    assert set(fires) == quiet == {rule["alert"] for rule in RULES}
