"""The testing aid, used as a project of a user's would: the example of docs/testing.md, in a directory and a pytest of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import environment

PAGE = Path(__file__).parents[2] / "docs/testing.md"
pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(180)]


def test_example_of_the_page_passes(tmp_path: Path) -> None:
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{files['test_shop.py'].count('def test_')} passed" in done.stdout
    assert done.stderr == ""
