"""`jobqueue dev` as its users run it."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.apps.dev import take_free_port
from tests import programs
from tests.programs import Dev, is_alive, processes_of, running_dev, temporary_directory, wait_until, wait_until_none

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(180)]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture
def directory() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """One that several tests share; they leave it running."""
    with temporary_directory() as path, running_dev(path, JOBQUEUE_LEASE_SECONDS="5") as running:
        yield running


def test_job_is_done_and_its_result_read(dev: Dev) -> None:
    job_id = dev.submit("echo", {"message": "Hello"}, key="done")
    dev.wait_for(job_id, "succeeded")
    assert dev.call("GET", f"/v1/jobs/{job_id}/result").body["result"] == {"message": "Hello"}


def test_job_of_a_killed_worker_succeeds_in_the_end(dev: Dev) -> None:
    job_id = dev.submit("sleep", {"duration": 1}, key="killed", max_attempts=3)
    dev.wait_for(job_id, "running")
    (before,) = dev.children()["worker"]
    os.kill(before, signal.SIGKILL)
    job = dev.wait_for(job_id, "succeeded")
    assert job["attempt"] == 2
    (after,) = dev.children()["worker"]
    assert after != before


def test_killed_api_and_reaper_come_back(dev: Dev) -> None:
    before = dev.children()
    for role in ("api", "reaper"):
        os.kill(before[role][0], signal.SIGKILL)
    wait_until(lambda: all(dev.children().get(role, before[role]) != before[role] for role in ("api", "reaper")), within_s=30)
    wait_until(dev.is_ready, within_s=30)


def test_metrics_show_all_roles_without_a_credential(dev: Dev) -> None:
    dev.wait_for(dev.submit("echo", {}, key="metrics"), "succeeded")
    seen = [
        "jobs_submitted_total{",  # the api's
        "lease_acquired_total{",  # the worker's
        'jobs_completed_total{status="succeeded",tenant_id="demo"} ',  # told after the job is seen to have ended
        'workers{state="running"} ',  # the whole queue's, shown once although the reaper has it, too
    ]

    def page() -> str:
        return str(dev.call("GET", "/metrics", headers={"Authorization": ""}).body)

    wait_until(lambda: all(f"\n{series}" in page() for series in seen), within_s=30)
    assert page().count('\nworkers{state="running"} ') == 1
    assert page().count("# TYPE jobs_submitted_total counter") == 1


def test_second_dev_on_the_same_directory_or_port_is_refused(dev: Dev) -> None:
    data_dir = str(dev.log.parent / ".jobqueue")
    for arguments in (("--port", "0", "--data-dir", data_dir), ("--port", str(dev.port), "--data-dir", f"{data_dir}-other")):
        ended = programs.run("dev", *arguments)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended
        assert "in use" in ended.stderr


@on_linux
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_end_drains_stops_everything_and_keeps_the_data(directory: Path, sign: signal.Signals) -> None:
    port = take_free_port(set())
    with running_dev(directory, port=port, JOBQUEUE_SHUTDOWN_GRACE_SECONDS="1") as dev:
        api_key, job_id = dev.api_key, dev.submit("echo", {"kept": True}, key="kept")
        dev.wait_for(job_id, "succeeded")
        running = dev.submit("sleep", {"duration": 60}, key="interrupted")
        dev.wait_for(running, "running")
        assert dev.stop(sign, within_s=10) == 0
        assert processes_of(directory) == []
    with running_dev(directory, port=port, JOBQUEUE_SHUTDOWN_GRACE_SECONDS="1") as dev:
        assert (dev.port, dev.api_key) == (port, api_key)
        assert dev.call("GET", f"/v1/jobs/{job_id}/result").body["result"] == {"kept": True}
        assert dev.wait_for(running, "leased", "running")["attempt"] == 1  # it was given back, which costs no attempt


def test_secrets_are_for_the_owner_only(dev: Dev) -> None:
    data = dev.log.parent / ".jobqueue"
    for name in ("api_key", "signing_key", "database_url"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name
    assert (data / "api_key").read_text().strip() == dev.api_key


@on_linux
def test_nothing_is_left_when_dev_itself_is_killed_and_the_next_start_copes(directory: Path) -> None:
    with running_dev(directory, JOBQUEUE_SHUTDOWN_GRACE_SECONDS="1") as dev:
        api_key, job_id = dev.api_key, dev.submit("echo", {}, key="before")
        dev.wait_for(job_id, "succeeded")
        roles = dev.children()
        dev.process.kill()
        dev.process.wait()
    with running_dev(directory) as dev:
        assert dev.api_key == api_key
        assert dev.call("GET", f"/v1/jobs/{job_id}").body["status"] == "succeeded"
        assert dev.stop() == 0
    assert wait_until_none(directory, within_s=20) == []
    assert not any(is_alive(pid) for pids in roles.values() for pid in pids)


def test_flags_set_the_workers(directory: Path) -> None:
    with running_dev(directory, "--workers", "2", "--concurrency", "3", JOBQUEUE_SHUTDOWN_GRACE_SECONDS="1") as dev:
        assert len(dev.children()["worker"]) == 2
        jobs = [dev.submit("sleep", {"duration": 60}, key=f"held-{number}") for number in range(9)]
        for job_id in jobs[:6]:  # two workers of three slots; claims are in the order of submission
            dev.wait_for(job_id, "running")
        assert [dev.call("GET", f"/v1/jobs/{job_id}").body["status"] for job_id in jobs[6:]] == ["queued"] * 3


def test_given_server_is_used_instead(directory: Path, empty_database: str) -> None:
    with running_dev(directory, DATABASE_URL=empty_database.replace("postgresql://", "postgresql+asyncpg://")) as dev:
        dev.wait_for(dev.submit("echo", {}, key="own"), "succeeded")
        assert not (directory / ".jobqueue" / "postgres").exists()
        assert dev.stop() == 0
    listed = programs.run("tenants", "list", "--json", JOBQUEUE_DATABASE_URL=empty_database)
    assert '"name": "demo"' in listed.stdout
