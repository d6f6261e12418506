"""The scaled fleet over a day: what it costs, how long jobs wait, and that it does not flap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from jobqueue.domain.scaling import Load
from tests.deployed import scaling
from tests.deployed.scaling import Scaler, Seen, compare, fixed, flaps, live

K8S: Final = Path(__file__).parents[2] / "k8s"
PAGE: Final = Path(__file__).parents[2] / "docs" / "scaling.md"


@pytest.fixture(scope="module")
def found() -> dict[str, Seen]:
    return compare()


def test_the_scaled_fleet_costs_a_third_of_its_peak_and_jobs_wait_seconds(found: dict[str, Seen]) -> None:
    scaled, peak, _ = found.values()
    assert scaled.worker_hours <= peak.worker_hours / 3
    assert scaled.wait_s(0.99) <= 10
    assert scaled.wait_s(1.0) <= scaling.START_S


def test_a_fixed_fleet_of_the_same_cost_lets_jobs_wait_for_an_hour(found: dict[str, Seen]) -> None:
    scaled, _, same = found.values()
    assert same.worker_hours >= scaled.worker_hours
    assert same.wait_s(0.99) > 100 * scaled.wait_s(0.99)


@pytest.mark.parametrize("seed", [3, 6])
def test_it_never_grows_again_soon_after_it_shrank_unless_the_load_rose(seed: int) -> None:
    """These days flap with half the stabilisation, which shows that the check can fail."""
    assert flaps(live(Scaler(), start_with=2, seed=seed)) == []


def test_a_fleet_that_follows_every_look_flaps() -> None:
    def restless(_now: int, _workers: int, load: Load) -> int:
        return max(2, scaling.desired_workers(load))

    assert len(flaps(live(restless, start_with=2))) > 10


def test_every_job_is_counted_once(found: dict[str, Seen]) -> None:
    counts = {sum(seen.waits.values()) + seen.ready[-1] for seen in found.values()}
    assert len(counts) == 1


def test_a_fixed_fleet_costs_its_size() -> None:
    assert live(fixed(3), start_with=3).worker_hours == 3 * 24


def test_the_simulated_scaler_is_the_one_of_the_manifests() -> None:
    hpa = next(item for item in yaml.safe_load_all((K8S / "base/worker.yaml").read_text()) if item["kind"] == "HorizontalPodAutoscaler")
    keda = next(yaml.safe_load_all((K8S / "components/keda/scaledobject.yaml").read_text()))["spec"]
    behavior = keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert hpa["spec"]["behavior"] == behavior
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == scaling.STABLE_S
    assert behavior["scaleUp"] == {"stabilizationWindowSeconds": 0, "selectPolicy": "Max"}
    assert (keda["minReplicaCount"], keda["maxReplicaCount"], keda["pollingInterval"]) == (
        scaling.WORKERS_MIN,
        scaling.WORKERS_MAX,
        scaling.POLL_S,
    )


def test_the_page_has_the_figures_of_this_very_run(found: dict[str, Seen]) -> None:
    page = PAGE.read_text()
    assert scaling.table(found) in page
    assert (PAGE.parent / "scaling.png").stat().st_size > 10_000
    assert re.search(r"!\[.+\]\(scaling\.png\)", page)
