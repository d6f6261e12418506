"""Dockerfiles, compose and the settings hold together. No engine is needed; `make test-docker` runs them for real."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobqueue.config import OLDER_NAMES, PREFIX, Settings
from tests.docker.boxes import ROLES

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].removeprefix("jobqueue-") in ROLES]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETTINGS = {PREFIX + ("API_SECRET_KEY" if field == "api_secret_keys" else field.upper()) for field in Settings.model_fields}
KEYED = ("api", "reaper")
"""They sign tokens, or open secrets that are kept sealed."""
VARIABLES = SETTINGS | set(OLDER_NAMES.values())


def dockerfile(role: str) -> str:
    return (ROOT / f"Dockerfile.{role}").read_text()


def instructions(role: str) -> list[str]:
    """A Dockerfile's instructions, each on one line, without comments."""
    lines = "\n".join(line for line in dockerfile(role).splitlines() if not line.lstrip().startswith("#"))
    return [re.sub(r"\s+", " ", line) for line in lines.replace("\\\n", " ").splitlines() if line.strip()]


def last_stage(role: str) -> list[str]:
    found = instructions(role)
    return found[max(number for number, line in enumerate(found) if line.startswith("FROM ")) :]


def variables_of(service: dict[str, Any]) -> set[str]:
    return set(service.get("environment") or {})


# ---------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("role", ROLES[1:])
def test_all_roles_share_every_line_above_the_role_so_that_the_wheel_is_built_once(role: str) -> None:
    def shared(name: str) -> str:
        text = dockerfile(name)
        return text[text.index("FROM ") : text.index("# The role.")]

    assert shared(role) == shared("api")
    assert shared(role).count("FROM ") == 3


@pytest.mark.parametrize("role", ROLES)
def test_image_runs_as_uid_1000_by_an_exec_form_command_and_checks_its_health(role: str) -> None:
    stage = last_stage(role)
    assert "USER 1000:1000" in stage
    command = next(line for line in stage if line.startswith("CMD "))
    assert command.startswith(f'CMD ["jobqueue", "{role}"')
    assert not any(line.startswith("ENTRYPOINT") for line in stage)
    health = next(line for line in stage if line.startswith("HEALTHCHECK"))
    assert 'CMD ["python", "-I", "-S", "/opt/jobqueue/healthy.py"' in health
    assert ("8000" in health) == (role == "api")


@pytest.mark.parametrize("role", ROLES)
def test_image_is_labelled_with_the_project_s_version(role: str) -> None:
    label = next(line for line in last_stage(role) if line.startswith("LABEL"))
    assert f'org.opencontainers.image.version="{PROJECT["project"]["version"]}"' in label
    assert f'org.opencontainers.image.title="jobqueue-{role}"' in label
    assert f'org.opencontainers.image.licenses="{PROJECT["project"]["license"]}"' in label


@pytest.mark.parametrize("role", [*ROLES, "load"])
def test_last_stage_installs_nothing(role: str) -> None:
    assert not re.search(r"\b(pip|apt-get|apk|uv) (install|add)\b", "\n".join(last_stage(role)))


@pytest.mark.parametrize("role", [*ROLES, "load"])
def test_every_download_is_held_to_a_hash(role: str) -> None:
    for line in instructions(role):
        for install in re.findall(r"pip(?: --python \S+)? install ([^&]*)", line):
            assert "--require-hashes --only-binary :all: --requirement" in install or "--no-index --no-deps" in install, install


def test_what_the_wheel_is_made_of_is_copied_and_not_ignored() -> None:
    copied = {word for line in instructions("api") if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    hatch = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in (*hatch["packages"], *hatch["force-include"])} | {"pyproject.toml", "README.md", "LICENSE"}
    assert needed <= copied
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all(any(path == door or path.startswith(f"{door}/") for door in let_in) for path in copied)
    assert all((ROOT / path).exists() for path in copied)


def test_health_check_asks_a_path_that_the_roles_serve(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "docker" / "healthy.py"
    assert b"GET /healthz/ready " in script.read_bytes()
    refused = subprocess.run([sys.executable, "-I", "-S", script, "1"], check=False, timeout=30)
    assert refused.returncode == 1


# --------------------------------------------------------------------------------------------------- compose


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_built_and_named(role: str) -> None:
    service = SERVICES[role]
    assert service["image"] == f"jobqueue-{role}"
    assert service["build"] == {"context": ".", "dockerfile": f"Dockerfile.{role}"}
    assert "profiles" not in service


def test_every_variable_given_to_our_containers_is_a_setting() -> None:
    for name in OURS:
        unknown = {variable.removesuffix("_FILE") for variable in variables_of(SERVICES[name])} - VARIABLES
        assert not {variable for variable in unknown if not variable.startswith("OTEL_")}, name


def test_load_comes_with_what_its_users_and_report_read() -> None:
    read = set(re.findall(r"environ\.get\(\"(\w+)\"", (ROOT / "tests" / "load" / "locustfile.py").read_text()))
    given = variables_of(SERVICES["locust"]) | set(re.findall(r"(\w+)=", "\n".join(last_stage("load"))))
    assert read - given == {"LOAD_ENDED_SECONDS_MAX"}
    assert {"USER 1000:1000", "COPY tests/load /load/tests/load"} <= set(last_stage("load"))


@pytest.mark.parametrize("role", ROLES)
def test_every_setting_can_be_given_to_a_role(role: str) -> None:
    reached = variables_of(SERVICES[role]) | set(re.findall(r"\$\{(\w+)", str(SERVICES[role]["environment"])))
    signing = {"JOBQUEUE_API_SECRET_KEY", "API_SECRET_KEY"}
    missing = VARIABLES - reached - signing - {"DATABASE_URL"}  # the shell's DATABASE_URL is often another program's
    assert not missing, f"add to x-settings in docker-compose.yml: {sorted(missing)}"
    assert (signing <= reached) == (role in KEYED)


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_a_read_only_root_and_no_capability(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if not service["image"].startswith("jobqueue-"):
        assert service["user"] not in ("0", "root")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_the_api_is_on_port_8000_and_workers_publish_none_so_that_they_scale() -> None:
    assert SERVICES["api"]["ports"] == ["127.0.0.1:${JOBQUEUE_PORT:-8000}:8000"]
    assert "EXPOSE 8000 9090" in last_stage("api")
    for name in ("worker", "reaper", "postgres"):
        assert "ports" not in SERVICES[name]
        assert "container_name" not in SERVICES[name]


def test_roles_start_after_the_migration_and_those_that_need_the_key_after_it_was_made() -> None:
    for role in ROLES:
        assert SERVICES[role]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert (SERVICES[role]["depends_on"].get("keys") == {"condition": "service_completed_successfully"}) == (role in KEYED)
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["command"] == SERVICES["migrate-by-hand"]["command"] == ["jobqueue", "migrate"]


def test_the_stack_has_no_signing_key_of_its_own_that_anybody_could_know() -> None:
    for role in KEYED:
        assert SERVICES[role]["environment"]["JOBQUEUE_API_SECRET_KEY"] == "${JOBQUEUE_API_SECRET_KEY:-${API_SECRET_KEY:-}}"
        assert "keys:/var/lib/jobqueue:ro" in SERVICES[role]["volumes"]
    assert "secrets.token_hex(32)" in SERVICES["keys"]["command"][2]
    assert SERVICES["keys"]["network_mode"] == "none"


def test_signals_have_longer_than_the_shutdown_grace() -> None:
    grace_s = Settings.model_fields["shutdown_grace_seconds"].default
    for role in ("api", "worker"):
        assert int(SERVICES[role]["stop_grace_period"].removesuffix("s")) > grace_s + 6


def test_the_database_is_reached_by_our_containers_alone_and_names_the_view_without_schema() -> None:
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert {name for name, service in SERVICES.items() if "database" in service.get("networks", [])} == {
        "postgres", "migrate", "migrate-by-hand", *ROLES
    }  # fmt: skip
    assert 'search_path="$$user",public,jobqueue' in SERVICES["postgres"]["command"]


def test_profiles_are_those_of_the_documentation_and_what_they_mount_exists() -> None:
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    text = (ROOT / "docs" / "docker.md").read_text()
    assert all(f"--profile {profile}" in text for profile in profiles)
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith("./")]
    assert all((ROOT / mount.split(":")[0]).is_dir() for mount in mounts)
    named = {
        mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", []) if not mount.startswith((".", "/"))
    }
    assert named == set(COMPOSE["volumes"])


def test_grafana_opens_on_a_dashboard_that_is_there_and_the_api_tells_the_metrics_of_roles_that_are_there() -> None:
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy" / "grafana" / "dashboards" / Path(home).name).is_file()
    assert SERVICES["api"]["environment"]["JOBQUEUE_METRICS_PEERS"] == "${JOBQUEUE_METRICS_PEERS-worker:9090,reaper:9090}"


def test_prometheus_is_told_of_services_that_are_there() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    names = {name for job in scraped for found in job.get("dns_sd_configs", []) for name in found["names"]}
    assert names == set(ROLES)
    assert all("front" in SERVICES[name]["networks"] for name in names)
