"""What docs/first_handler.md and docs/recipes.md tell people to write works as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobqueue.cli.main import run
from jobqueue.testing import QueueServer
from jobqueue.worker.registry import default_registry
from tests.integration.cli.conftest import working
from tests.programs import environment

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(240)]


def files_of(page: str, directory: Path) -> None:
    """Write the page's files."""
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        (directory / name).write_text(text)


def test_recipes_do_what_they_say(job_queue_server: QueueServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = re.findall(r"<!-- run -->\n```python\n(.*?)```", (DOCS / "recipes.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    known = dict(default_registry._specs)
    (tmp_path / "files").mkdir()
    try:
        with job_queue_server.queue(JOBQUEUE_FILES_DIR=str(tmp_path / "files")) as queue:
            names: dict[str, Any] = {"queue": queue.client, "run_all": queue.run_all}
            for block in blocks:
                exec(compile(block, "recipes.md", "exec"), names)
            by_status = queue.client.stats().by_status
            assert by_status["dlq"] == by_status["failed"] == by_status["queued"] == 0, by_status
            assert by_status["scheduled"] == 1
            [walk] = queue.client.iterate(job_type="walk")
            assert queue.client.ended(walk.id).result == 3
            (tmp_path / "prime_numbers.py").write_text(next(block for block in blocks if "def primes" in block))
            default_registry._specs.pop("primes")
            primes = queue.submit("primes", {"below": 100})
            queue.run_all(["prime_numbers"])
            assert queue.client.ended(primes.id).result == 25
    finally:
        default_registry._specs.clear()
        default_registry._specs.update(known)


def test_first_handler_runs_in_a_worker_over_http_and_its_tests_pass(
    job_queue_server: QueueServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files_of("first_handler.md", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    [commands] = re.findall(r"<!-- commands -->\n```sh\n(.*?)```", (DOCS / "first_handler.md").read_text(), re.DOTALL)
    with job_queue_server.queue() as queue, working(queue):  # working: what waits for its time becomes due
        monkeypatch.setenv("JOBQUEUE_URL", queue.url)
        monkeypatch.setenv("JOBQUEUE_API_KEY", queue.api_key)
        ours = environment(JOBQUEUE_URL=queue.url, JOBQUEUE_API_KEY=queue.api_key)
        worker = subprocess.Popen([sys.executable, "worker.py"], cwd=tmp_path, env=ours, stderr=subprocess.DEVNULL)
        try:
            said = []
            for line in commands.splitlines():
                assert run(shlex.split(line)[1:]) == 0
                said.append(capsys.readouterr().out)
                if "nam=Bob" in line:
                    queue.client.wait(said[-1].split()[0], timeout=60)
            assert '"Hello, Ann!"' in said[0]
            assert '"sunny in Oslo"' in said[1]
            assert "argument 'name' is missing" in said[4]
            done = subprocess.run(
                [sys.executable, "submit.py"], cwd=tmp_path, env=ours, capture_output=True, text=True, timeout=60, check=True
            )
            assert done.stdout == "{'lines': ['Hello, Ann!']}\n"
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
