"""`jobqueue migrate` and the operator commands on a real database."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from jobqueue.cli.main import run
from tests import programs

MIGRATORS = 5
Command = Callable[..., subprocess.CompletedProcess[str]]


def fetch(dsn: str, query: str) -> Any:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=30)
        try:
            return await connection.fetchval(query, timeout=30)
        finally:
            await connection.close(timeout=30)

    with asyncio.Runner() as runner:
        return runner.run(ask())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command that ends by itself in this process, which is quicker; settings are its variables."""

    def ended(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name in set(os.environ) - set(programs.environment()):
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(name, value)
            code = run(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return ended


def test_five_at_once_all_succeed_and_migrate_once(empty_database: str) -> None:
    started = [
        subprocess.Popen(
            [*programs.PROGRAM, "migrate"],
            env=programs.environment(DATABASE_URL=empty_database),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(MIGRATORS)
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in started]
    assert [code for _, _, code in ended] == [0] * MIGRATORS, ended
    assert len({out for out, _, _ in ended}) == 1
    assert fetch(empty_database, "SELECT count(*) FROM jobqueue.schema_version") == 1


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize("variable", ["DATABASE_URL", "JOBQUEUE_DATABASE_URL"])
def test_both_forms_of_the_address_work_under_both_names(empty_database: str, command: Command, scheme: str, variable: str) -> None:
    address = empty_database.replace("postgresql", scheme, 1)
    for _ in range(2):  # the second one finds nothing to do
        ended = command("migrate", **{variable: address})
        assert (ended.returncode, ended.stdout.startswith("schema is at ")) == (0, True), ended
    assert command("tenants", "list", **{variable: address}).returncode == 0


def test_direct_address_is_the_one_that_is_migrated(empty_database: str, database: str, command: Command) -> None:
    ended = command("migrate", DATABASE_URL=database, JOBQUEUE_DATABASE_DIRECT_URL=empty_database)
    assert ended.returncode == 0, ended
    assert fetch(empty_database, "SELECT to_regclass('jobqueue.job') IS NOT NULL")


@pytest.mark.parametrize("role", ["api", "worker", "reaper"])
def test_role_on_a_database_without_the_schema_says_to_migrate(empty_database: str, role: str) -> None:
    ended = programs.run(role, DATABASE_URL=empty_database, JOBQUEUE_METRICS_PORT="0", API_SECRET_KEY="s" * 32)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended
    assert "jobqueue migrate" in ended.stderr


@pytest.mark.parametrize("part", ["database", "password"])
def test_wrong_address_is_wrong_configuration(database: str, command: Command, part: str) -> None:
    head, _, name = database.rpartition("/")
    user, _, host = head.rpartition("@")
    address = f"{head}/no_such_database" if part == "database" else f"{user}wrong@{host}/{name}"
    for arguments in (("migrate",), ("tenants", "list")):
        ended = command(*arguments, DATABASE_URL=address)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended
        assert "JOBQUEUE_DATABASE_URL" in ended.stderr


def test_tenant_is_made_once_and_listed(database: str, command: Command) -> None:
    assert command("tenants", "create", "acme", "--plan", "pro", DATABASE_URL=database).returncode == 0
    again = command("tenants", "create", "acme", DATABASE_URL=database)
    assert (again.returncode, again.stderr) == (1, "jobqueue: there is a tenant acme already\n")
    listed = json.loads(command("tenants", "list", "--json", DATABASE_URL=database).stdout)
    assert [(tenant["name"], tenant["plan"]) for tenant in listed] == [("acme", "pro")]
    assert "acme" in command("tenants", "list", DATABASE_URL=database).stdout


@pytest.mark.parametrize("arguments", [("Not A Name",), ("acme", "--plan", "gold")])
def test_tenant_that_cannot_be_is_wrong_usage(database: str, command: Command, arguments: tuple[str, ...]) -> None:
    ended = command("tenants", "create", *arguments, DATABASE_URL=database)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended


def test_key_is_printed_once_alone_and_kept_as_a_hash(database: str, command: Command) -> None:
    command("tenants", "create", "acme", DATABASE_URL=database)
    made = command("keys", "create", "--tenant", "acme", DATABASE_URL=database)
    assert made.returncode == 0, made
    assert made.stdout.startswith("jq_")
    assert made.stdout.count("\n") == 1
    kept = fetch(database, "SELECT row_to_json(k)::text FROM jobqueue.api_key k")
    assert made.stdout.strip() not in kept
    assert json.loads(kept)["scopes"] == ["jobs:read", "jobs:write", "work", "tenant:admin", "metrics:read"]


def test_key_has_the_scopes_that_were_asked_for(database: str, command: Command) -> None:
    command("tenants", "create", "acme", DATABASE_URL=database)
    asked = command("keys", "create", "--tenant", "acme", "--scope", "jobs:read", "--scope", "operator", DATABASE_URL=database)
    assert asked.returncode == 0, asked
    assert fetch(database, "SELECT scopes FROM jobqueue.api_key") == ["jobs:read", "operator"]


@pytest.mark.parametrize(("arguments", "code"), [(("--tenant", "acme", "--scope", "everything"), 2), (("--tenant", "nobody"), 1)])
def test_key_that_cannot_be_is_refused(database: str, command: Command, arguments: tuple[str, ...], code: int) -> None:
    command("tenants", "create", "acme", DATABASE_URL=database)
    refused = command("keys", "create", *arguments, DATABASE_URL=database)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (code, "", 1), refused
    assert fetch(database, "SELECT count(*) FROM jobqueue.api_key") == 0


def test_user_is_disabled_and_let_in_again_by_any_spelling_of_the_address(database: str, command: Command) -> None:
    fetch(
        database,
        "INSERT INTO jobqueue.app_user (tenant_id, email, password_hash, scopes) VALUES (1, 'ann@example.com', '$argon2id$x', '{}')"
        " RETURNING user_id",
    )
    disabled = command("users", "disable", "Ann@Example.com", DATABASE_URL=database)
    assert (disabled.returncode, disabled.stdout) == (0, "disabled Ann@Example.com\n"), disabled
    assert fetch(database, "SELECT disabled_at IS NOT NULL FROM jobqueue.app_user")
    assert command("users", "enable", "ann@example.com", DATABASE_URL=database).returncode == 0
    assert not fetch(database, "SELECT disabled_at IS NOT NULL FROM jobqueue.app_user")
    unknown = command("users", "disable", "bob@example.com", DATABASE_URL=database)
    assert (unknown.returncode, unknown.stderr) == (1, "jobqueue: there is no user bob@example.com\n")
