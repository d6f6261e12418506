"""Settings: names, defaults and bounds of the contract, and one clear line for what is wrong."""

from pathlib import Path

import pytest

from jobqueue.config import ConfigurationError, Settings, load, secret_names

KEY = "k" * 32
OTHER_KEY = "o" * 40

DEFAULTS = {
    "database_url": None,
    "database_direct_url": None,
    "api_secret_keys": [],
    "rate_limit_requests_per_minute": 100,
    "tenant_max_concurrent": 10,
    "tenant_max_queued": 1_000_000,
    "lease_seconds": 30,
    "max_attempts": 3,
    "max_crashes": 3,
    "retry_base_seconds": 5,
    "retry_max_seconds": 3600,
    "pending_timeout_seconds": None,
    "job_timeout_seconds": 3600,
    "cancel_grace_seconds": 30,
    "shutdown_grace_seconds": 30,
    "worker_queues": ["*"],
    "worker_concurrency": 100,
    "poll_interval": 1,
    "handlers": [],
    "files_dir": None,
    "isolated_memory_mib": None,
    "outbound_networks": [],
    "smtp_host": None,
    "smtp_port": None,
    "smtp_security": "starttls",
    "smtp_username": None,
    "smtp_password": None,
    "smtp_from": None,
    "retention_days": 30,
    "audit_retention_days": 365,
    "webhook_networks": [],
    "webhook_retention_days": 7,
    "registration": "closed",
    "metrics_port": 9090,
    "metrics_open": False,
    "metrics_peers": [],
    "accept_unsafe_database": False,
    "log_level": "info",
    "log_format": None,
}

OLDER_NAMES = [
    ("JOBQUEUE_DATABASE_URL", "DATABASE_URL", "database_url", "postgresql://a/b", "postgresql://c/d"),
    ("JOBQUEUE_API_SECRET_KEY", "API_SECRET_KEY", "api_secret_keys", KEY, OTHER_KEY),
    ("JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE", "RATE_LIMIT_REQUESTS_PER_MINUTE", "rate_limit_requests_per_minute", "7", "8"),
    ("JOBQUEUE_LEASE_SECONDS", "JOB_LEASE_SECONDS", "lease_seconds", "7", "8"),
    ("JOBQUEUE_WORKER_QUEUES", "WORKER_QUEUES", "worker_queues", "a", "b"),
    ("JOBQUEUE_WORKER_CONCURRENCY", "MAX_CONCURRENT_JOBS", "worker_concurrency", "7", "8"),
    ("JOBQUEUE_POLL_INTERVAL", "POLL_INTERVAL", "poll_interval", "7", "8"),
]


def test_defaults_are_those_of_the_contract() -> None:
    assert load({}).model_dump() == DEFAULTS


def test_process_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_MAX_ATTEMPTS", "9")
    assert load({}).max_attempts == 3
    assert load({"JOBQUEUE_MAX_ATTEMPTS": "4"}).max_attempts == 4


@pytest.mark.parametrize(("canonical", "older", "attribute", "value", "other"), OLDER_NAMES)
def test_older_name_works_and_the_canonical_one_wins(canonical: str, older: str, attribute: str, value: str, other: str) -> None:
    by_canonical = getattr(load({canonical: value}), attribute)
    assert getattr(load({older: value}), attribute) == by_canonical
    assert getattr(load({older: other, canonical: value}), attribute) == by_canonical
    assert getattr(load({older: other, canonical: ""}), attribute) == getattr(load({canonical: other}), attribute)


@pytest.mark.parametrize("older", ["MAX_ATTEMPTS", "LEASE_SECONDS", "LOG_LEVEL", "HANDLERS", "database_url", "jobqueue_max_attempts"])
def test_no_other_name_is_read(older: str) -> None:
    assert load({older: "999"}) == load({})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql+asyncpg://user:p%40ss@host:5433/db?ssl=require", "postgresql://user:p%40ss@host:5433/db?ssl=require"),
        ("postgres://host/db", "postgresql://host/db"),
        ("postgresql://a:1,b:2/db?target_session_attrs=read-write", "postgresql://a:1,b:2/db?target_session_attrs=read-write"),
    ],
)
def test_database_addresses_are_normalised(given: str, kept: str) -> None:
    settings = load({"DATABASE_URL": given})
    assert (settings.database_url, settings.direct_url) == (kept, kept)


def test_direct_address_stands_beside_the_pooled_one() -> None:
    settings = load({"DATABASE_URL": "postgresql://pooler/db", "JOBQUEUE_DATABASE_DIRECT_URL": "postgresql+asyncpg://server/db"})
    assert (settings.database_url, settings.direct_url) == ("postgresql://pooler/db", "postgresql://server/db")


def test_lists_are_split_at_commas() -> None:
    settings = load({"API_SECRET_KEY": f"{KEY}, {OTHER_KEY}", "WORKER_QUEUES": "mail,images,", "JOBQUEUE_HANDLERS": "my.module, other"})
    assert settings.api_secret_keys == [KEY, OTHER_KEY]
    assert settings.worker_queues == ["mail", "images"]
    assert settings.handlers == ["my.module", "other"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("API_SECRET_KEY", KEY, "short"),
        ("API_SECRET_KEY", f"{KEY},{KEY}", f"{KEY},short"),
        ("API_SECRET_KEY", "é" * 16, "é" * 15),
        ("API_SECRET_KEY", KEY, ","),
        ("DATABASE_URL", "postgresql://h/d", "mysql://h/d"),
        ("JOBQUEUE_DATABASE_DIRECT_URL", "postgresql://h/d", "h/d"),
        ("RATE_LIMIT_REQUESTS_PER_MINUTE", "1", "0"),
        ("JOBQUEUE_TENANT_MAX_CONCURRENT", "0", "-1"),
        ("JOBQUEUE_TENANT_MAX_QUEUED", "1", "0"),
        ("JOB_LEASE_SECONDS", "5", "4"),
        ("JOBQUEUE_LEASE_SECONDS", "3600", "3601"),
        ("JOBQUEUE_MAX_ATTEMPTS", "1", "0"),
        ("JOBQUEUE_MAX_CRASHES", "1", "none"),
        ("JOBQUEUE_RETRY_BASE_SECONDS", "0", "-1"),
        ("JOBQUEUE_RETRY_MAX_SECONDS", "5", "4"),
        ("JOBQUEUE_PENDING_TIMEOUT_SECONDS", "0.5", "0"),
        ("JOBQUEUE_JOB_TIMEOUT_SECONDS", "1", "0"),
        ("JOBQUEUE_CANCEL_GRACE_SECONDS", "0", "-1"),
        ("JOBQUEUE_SHUTDOWN_GRACE_SECONDS", "0", "inf"),
        ("MAX_CONCURRENT_JOBS", "1", "0"),
        ("WORKER_QUEUES", "mail", ","),
        ("POLL_INTERVAL", "0.1", "0"),
        ("JOBQUEUE_RETENTION_DAYS", "2", "1"),
        ("JOBQUEUE_REGISTRATION", "Open", "ajar"),
        ("JOBQUEUE_METRICS_PORT", "0", "65536"),
        ("JOBQUEUE_METRICS_OPEN", "true", "maybe"),
        ("JOBQUEUE_METRICS_PEERS", "worker:9090,[::1]:9091", "worker"),
        ("JOBQUEUE_METRICS_PEERS", "", "worker:70000"),
        ("JOBQUEUE_ACCEPT_UNSAFE_DATABASE", "1", "2"),
        ("JOBQUEUE_LOG_LEVEL", "WARNING", "loud"),
        ("JOBQUEUE_LOG_FORMAT", "console", "xml"),
    ],
)
def test_value_in_bounds_passes_and_the_next_one_is_refused_by_its_own_name(name: str, good: str, bad: str) -> None:
    assert isinstance(load({name: good}), Settings)
    with pytest.raises(ConfigurationError) as refused:
        load({name: bad})
    message = str(refused.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message


def test_refusal_never_repeats_a_secret() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"API_SECRET_KEY": "hunter2", "DATABASE_URL": "mysql://user:hunter2@host/db"})
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(load({"API_SECRET_KEY": "hunter2" * 8, "DATABASE_URL": "postgresql://user:hunter2@host/db"}))


def test_all_wrong_variables_are_named_in_one_line() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"JOBQUEUE_MAX_ATTEMPTS": "0", "POLL_INTERVAL": "x"})
    message = str(refused.value)
    assert "JOBQUEUE_MAX_ATTEMPTS: " in message
    assert "POLL_INTERVAL: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "variable", "value"), [("database_url", "DATABASE_URL", "postgresql://h/d"), ("api_secret_keys", "API_SECRET_KEY", KEY)]
)
def test_what_a_role_needs_must_be_set(field: str, variable: str, value: str) -> None:
    assert load({variable: value}, needs=[field])
    with pytest.raises(ConfigurationError, match=f"^JOBQUEUE_{variable} is not set: "):
        load({}, needs=[field])


# ------------------------------------------------------------------------------------------------ secrets in files


SECRETS = [
    ("JOBQUEUE_DATABASE_URL", "database_url", "postgresql://a/b", "postgresql://c/d"),
    ("DATABASE_URL", "database_url", "postgresql://a/b", "postgresql://c/d"),
    ("JOBQUEUE_DATABASE_DIRECT_URL", "database_direct_url", "postgresql://a/b", "postgresql://c/d"),
    ("JOBQUEUE_API_SECRET_KEY", "api_secret_keys", KEY, OTHER_KEY),
    ("API_SECRET_KEY", "api_secret_keys", KEY, OTHER_KEY),
    ("JOBQUEUE_SMTP_USERNAME", "smtp_username", "me", "you"),
    ("JOBQUEUE_SMTP_PASSWORD", "smtp_password", "1", "2"),
]


@pytest.mark.parametrize(("name", "field", "value", "other"), SECRETS)
def test_a_secret_may_stand_in_a_file_and_the_variable_itself_goes_first(
    name: str, field: str, value: str, other: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    assert getattr(load({f"{name}_FILE": str(file)}), field) == getattr(load({name: value}), field)
    assert getattr(load({f"{name}_FILE": str(file), name: other}), field) == getattr(load({name: other}), field)


def test_every_secret_and_nothing_else_may_stand_in_a_file() -> None:
    assert set(secret_names()) == {name for name, *_ in SECRETS}


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"^JOBQUEUE_API_SECRET_KEY_FILE: cannot read {tmp_path}/none: No such file or directory$"):
        load({"JOBQUEUE_API_SECRET_KEY_FILE": f"{tmp_path}/none"})


def test_a_wrong_value_in_a_file_is_refused_as_one_in_the_variable_is(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    with pytest.raises(ConfigurationError, match="JOBQUEUE_API_SECRET_KEY: each key must have at least 32 bytes"):
        load({"JOBQUEUE_API_SECRET_KEY_FILE": f"{tmp_path}/short"})
