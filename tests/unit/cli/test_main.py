"""The command line without a database: exit codes, one line of complaint, and what the base install can do."""

import os
import subprocess
import sys

import pytest

from jobqueue.cli.main import run

SECRET = "x" * 32
NO_SERVER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"asyncpg", "sqlalchemy", "alembic", "fastapi", "uvicorn", "uvloop", "prometheus_client"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from jobqueue.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
LOADED = "import sys; from jobqueue.cli.main import run; run(['--help']); print(sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("JOBQUEUE_") or name in ("DATABASE_URL", "API_SECRET_KEY"):
            monkeypatch.delenv(name)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Take the one line on stderr; stdout must be empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("jobqueue: ")
    return err


@pytest.mark.parametrize("noun", ["dev", "api", "worker", "reaper", "migrate", "tenants", "keys", "users"])
def test_help_names_every_command(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert f"\n  {noun} " in capsys.readouterr().out


def test_help_shows_no_hidden_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--help"]) == 0
    assert "--child" not in capsys.readouterr().out


def test_version_is_said_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jobqueue ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["nope"], "No such command"),
        (["dev", "--nope"], "No such option"),
        (["dev", "--port", "eighty"], "--port"),
        (["dev", "--workers", "0"], "--workers"),
        (["worker", "--processes", "0"], "--processes"),
        (["tenants", "create"], "name"),
        (["keys", "create"], "--tenant"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    line = complaint(capsys)
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize(
    "arguments", [["api"], ["worker"], ["reaper"], ["migrate"], ["tenants", "list"], ["keys", "create", "--tenant", "a"]]
)
def test_missing_setting_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "JOBQUEUE_DATABASE_URL is not set" in complaint(capsys)


def test_wrong_setting_is_named_as_the_user_wrote_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_JOBS", "many")
    assert run(["dev"]) == 2
    assert "MAX_CONCURRENT_JOBS" in complaint(capsys)


def test_handlers_that_cannot_be_imported_refuse_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("JOBQUEUE_HANDLERS", "no.such.module")
    ended = python("-m", "jobqueue.cli.main", "worker")  # a role sets up its process's logs and signals
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "no.such.module" in ended.stderr


def test_server_that_does_not_answer_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert run(["tenants", "list"]) == 1
    assert "JOBQUEUE_DATABASE_URL" in complaint(capsys)


def test_migrate_says_in_one_line_that_the_server_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert run(["migrate"]) == 1
    assert "JOBQUEUE_DATABASE_URL" in complaint(capsys)


@pytest.mark.parametrize("command", ["dev", "api", "worker", "reaper", "migrate"])
def test_base_install_says_how_to_get_the_server(command: str) -> None:
    ended = python("-c", NO_SERVER, command)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "pip install 'jobqueue[server]'" in ended.stderr


def test_base_install_shows_help_and_version() -> None:
    assert python("-c", NO_SERVER, "--help").returncode == 0
    assert python("-c", NO_SERVER, "--version").returncode == 0


def test_help_loads_nothing_heavy() -> None:
    loaded = python("-c", LOADED).stdout.splitlines()[-1]
    for heavy in ("asyncpg", "sqlalchemy", "fastapi", "pydantic", "structlog", "rich", "uvloop"):
        assert f"'{heavy}'" not in loaded
