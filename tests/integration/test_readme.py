"""The README's calls work as they stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import environment, running_dev, temporary_directory

README = Path(__file__).parents[2] / "README.md"
LINES_MAX = 150
pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(180)]


def block(language: str, containing: str) -> str:
    """Cut the one block of code out that contains the text."""
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL) if containing in code)
    return str(found)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_calls_do_what_they_say() -> None:
    with temporary_directory() as directory, running_dev(directory) as dev:
        script = block("sh", "/auth/token").replace("http://127.0.0.1:8000", dev.url)
        done = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        job, result, events, cancelled, retried, stats = done.stdout.splitlines()
    assert '"status":"succeeded"' in job
    assert '"result":{"message":"Hello"}' in result
    assert re.findall(r'"type":"([^"]+)"', events) == ["job.submitted", "job.leased", "job.started", "job.succeeded"]
    assert '"status":"cancelled"' in cancelled
    assert '"status":"queued"' in retried
    assert '"by_status"' in stats


def test_handler_runs() -> None:
    with temporary_directory() as directory:
        (directory / "my_handlers.py").write_text(block("python", "@job("))
        with running_dev(directory, JOBQUEUE_HANDLERS="my_handlers") as dev:
            done = dev.submit("resize_image", {"path": "a.png", "width": 64}, key="a-64")
            discarded = dev.submit("resize_image", {"path": "a.png", "width": 0}, key="a-0")
            dev.wait_for(done, "succeeded")
            assert dev.call("GET", f"/v1/jobs/{done}/result").body["result"] == {"path": "a.png", "width": 64}
            assert dev.wait_for(discarded, "dlq")["error"]["type"] == "Discard"


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    text = README.read_text()
    assert text.count("\n") <= LINES_MAX
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (README.parent / target).exists(), target
