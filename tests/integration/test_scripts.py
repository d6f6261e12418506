"""The scripts for operators: clean by shellcheck, helpful, and those that need no cluster run on a real service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests import programs
from tests.programs import running_dev, temporary_directory

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = sorted(path for path in (ROOT / "scripts").glob("*.sh") if path.name != "lib.sh")
NAMES: Final = {"deploy-local-k8s", "k8s-load-test", "run-locust-test", "test-rate-limit", "create-demo-jobs", "trace-request"}


def run(script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / f"{script}.sh", *arguments],
        env=programs.environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_scripts_are_those_and_may_be_run() -> None:
    assert {path.stem for path in SCRIPTS} == NAMES
    assert all(os.access(path, os.X_OK) for path in SCRIPTS)


def test_shellcheck_finds_nothing() -> None:
    command = [Path(sys.executable).parent / "shellcheck", "-x", *SCRIPTS, ROOT / "scripts" / "lib.sh"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize("name", sorted(NAMES))
def test_help_says_how_to_call_it(name: str) -> None:
    told = run(name, "--help")
    assert told.returncode == 0, told
    assert f"scripts/{name}.sh" in told.stdout


def test_a_wrong_option_is_refused() -> None:
    refused = run("deploy-local-k8s", "--cleen")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_without_a_service_a_script_says_so_and_fails() -> None:
    refused = run("create-demo-jobs", "1", JOBQUEUE_URL="http://127.0.0.1:9", JOBQUEUE_API_KEY="jq_none")
    assert refused.returncode == 1
    assert "POST /v1/jobs" in refused.stderr


@pytest.mark.database
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_they_do_what_they_say_on_a_running_service() -> None:
    rate = {"JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE": "30"}  # used up however slowly requests are made
    with temporary_directory() as directory, running_dev(directory, **rate) as dev:
        settings = {"JOBQUEUE_URL": dev.url, "JOBQUEUE_API_KEY": dev.api_key}
        made = run("create-demo-jobs", "10", **settings)
        assert made.returncode == 0, made
        assert "submitted 10 jobs" in made.stdout
        traced = run("trace-request", JAEGER_URL="http://127.0.0.1:9", **settings)
        assert traced.returncode == 0, traced
        assert re.search(r"job\.submitted\s.*\n.*job\.leased\s.*\n.*job\.started\s.*\n.*job\.succeeded\s", traced.stdout)
        limited = run("test-rate-limit", JOBQUEUE_URL=dev.url)
        assert limited.returncode == 0, limited
        assert "the next request passed" in limited.stdout
