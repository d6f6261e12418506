"""What runs on GitHub is pinned, may do little, and names only what is in the repository."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WRITING = {("deploy", "publish"): {"packages"}}
"""Jobs that may write, and what."""
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHARED = ("github.ref", "github.sha", "github.actor", "github.workflow", "github.event_name")


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


WORKFLOWS = {path.stem: read(path) for path in FILES}
JOBS = [(name, job, said) for name, workflow in WORKFLOWS.items() for job, said in workflow["jobs"].items()]
STEPS = [(name, job, step) for name, job, said in JOBS for step in said.get("steps", [])]
COMMANDS = [(name, job, step["run"]) for name, job, step in STEPS if "run" in step]


def triggers(name: str) -> dict[str, Any]:
    found = WORKFLOWS[name][True]  # YAML reads the key `on` as true
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    for used in re.findall(r"uses: (.+)", path.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+)*", used) or (FOLDER / used.rpartition("/")[2]).is_file(), used


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_action_has_one_version_everywhere(path: Path) -> None:
    everywhere = dict(re.findall(r"uses: ([\w-]+/[\w-]+)@(\w+)", "\n".join(file.read_text() for file in FILES)))
    assert all(everywhere[action] == commit for action, commit in re.findall(r"uses: ([\w-]+/[\w-]+)@(\w+)", path.read_text()))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_may_read_at_most_and_only_named_jobs_write(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] in ({}, {"contents": "read"})
    for job, said in WORKFLOWS[name]["jobs"].items():
        writes = {scope for scope, level in said.get("permissions", {}).items() if level != "read"}
        assert writes == WRITING.get((name, job), set())


@pytest.mark.parametrize(("name", "job", "said"), JOBS, ids=lambda value: value if isinstance(value, str) else "")
def test_job_runs_on_a_named_system_and_has_an_end(name: str, job: str, said: dict[str, Any]) -> None:
    if "uses" not in said:
        assert said["runs-on"] == "ubuntu-24.04"
        assert 0 < said["timeout-minutes"] <= 90


def test_no_checkout_leaves_a_credential_behind() -> None:
    checkouts = [step for _, _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_no_command_has_an_expression_put_into_it() -> None:
    assert [command for _, _, command in COMMANDS if "${{" in command] == []


@pytest.mark.parametrize(("name", "job", "command"), COMMANDS, ids=lambda value: value.split()[0] if " " in value else value)
def test_every_command_is_clean_shell(name: str, job: str, command: str) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run([shellcheck, "--shell=bash", "-"], input=command, text=True, capture_output=True, check=False, timeout=60)
    assert found.returncode == 0, found.stdout


def test_no_workflow_runs_a_stranger_s_code_with_our_secrets() -> None:
    for name in WORKFLOWS:
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(triggers(name))
    expressions = set(re.findall(r"\$\{\{\s*([\w.]+)", "\n".join(file.read_text() for file in FILES)))
    assert all(word in SHARED for word in expressions if word.startswith("github."))


def test_every_make_target_exists() -> None:
    called = {target for _, _, command in COMMANDS for target in re.findall(r"\bmake ([a-z-]+)", command)}
    nightly = WORKFLOWS["nightly"]["jobs"]["long"]["strategy"]["matrix"]["target"]
    assert {"lint", "test", "test-docker"} <= called
    assert called | set(nightly) <= TARGETS


def test_every_path_exists() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    roles = {role for job in ("images", "publish") for name in WORKFLOWS for role in roles_of(WORKFLOWS[name]["jobs"].get(job, {}))}
    named = {f"Dockerfile.{role}" for role in roles} | set(re.findall(r"\b(?:k8s/overlays/|tests/|requirements/)[\w/.-]*\w", text))
    assert {"Dockerfile.api", "Dockerfile.worker", "Dockerfile.reaper", "k8s/overlays/production", "tests/k8s"} <= named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def roles_of(job: dict[str, Any]) -> list[str]:
    roles = job.get("strategy", {}).get("matrix", {}).get("role", [])
    assert isinstance(roles, list)
    return roles


def test_tests_run_on_every_python_the_project_names_and_the_oldest_and_newest_postgres() -> None:
    matrix = WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13", "3.14"], "postgres": ["15", "18"]}
    assert f'requires-python = ">={matrix["python"][0]}"' in (ROOT / "pyproject.toml").read_text()


def test_every_image_is_scanned_and_a_finding_fails() -> None:
    for name, job in (("ci", "images"), ("deploy", "publish")):
        scans = [step for step in WORKFLOWS[name]["jobs"][job]["steps"] if step.get("uses", "").startswith("aquasecurity/trivy-action@")]
        assert [scan["with"]["exit-code"] for scan in scans] == ["1"]
        assert scans[0]["with"]["severity"] == "HIGH,CRITICAL"


def test_develop_goes_to_staging_and_main_to_production_after_all_checks() -> None:
    assert triggers("deploy") == {"push": {"branches": ["develop", "main"]}}
    jobs = WORKFLOWS["deploy"]["jobs"]
    assert jobs["check"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["publish"]["needs"] == "check"
    for environment, branch in (("staging", "develop"), ("production", "main")):
        assert jobs[environment]["if"] == f"github.ref == 'refs/heads/{branch}'"
        assert jobs[environment]["needs"] == "publish"
        assert jobs[environment]["with"] == {"environment": environment}
    assert WORKFLOWS["rollout"]["jobs"]["rollout"]["environment"] == "${{ inputs.environment }}"


def test_rollout_brings_the_schema_first_and_keeps_the_roles_back_till_then() -> None:
    text = (FOLDER / "rollout.yml").read_text()
    held_back = set(re.search(r"name notin \((.+)\)", text)[1].split(", "))  # type: ignore[index]
    deployed = {
        item["metadata"]["labels"]["app.kubernetes.io/name"]
        for path in (ROOT / "k8s" / "base").glob("*.yaml")
        for item in yaml.safe_load_all(path.read_text())
        if item and item["kind"] == "Deployment" and "jobqueue-" in str(item["spec"]["template"]["spec"]["containers"][0]["image"])
    }
    assert held_back == deployed, "the selector in rollout.yml names the deployments of k8s/base that run our images"
    assert text.index("job/jobqueue-migrate") < text.index("rollout status") < text.index("rollout undo")
