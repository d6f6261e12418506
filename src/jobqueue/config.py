"""Every setting of the product, read once from the environment.

Only apps and cli import this. Each variable has its canonical JOBQUEUE_ name; some also go by the older name deployments set, and the
canonical one wins. An empty variable is one that is not set. A wrong value ends the start with one line that names the variable. What is
secret may stand in a file instead, which the variable with _FILE behind its name points to: so containers are given secrets.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from jobqueue.domain.addresses import parse_networks

PREFIX: Final = "JOBQUEUE_"
FILE_SUFFIX: Final = "_FILE"
SECRET_KEY_BYTES_MIN: Final = 32
SECONDS_MAX: Final = 30 * 24 * 3600.0
POSTGRES_SCHEMES: Final = {"postgresql", "postgres", "postgresql+asyncpg"}
OLDER_NAMES: Final[Mapping[str, str]] = {
    "database_url": "DATABASE_URL",
    "api_secret_keys": "API_SECRET_KEY",
    "rate_limit_requests_per_minute": "RATE_LIMIT_REQUESTS_PER_MINUTE",
    "lease_seconds": "JOB_LEASE_SECONDS",
    "worker_queues": "WORKER_QUEUES",
    "worker_concurrency": "MAX_CONCURRENT_JOBS",
    "poll_interval": "POLL_INTERVAL",
}
HINTS: Final[Mapping[str, str]] = {
    "database_url": "set it to the address of the Postgres server, such as postgresql://user@host:5432/database",
    "api_secret_keys": f"set it to at least {SECRET_KEY_BYTES_MIN} random bytes; make them with: openssl rand -hex 32",
}


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message is one line that names the variable and says what to change."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _postgres_address(value: object) -> object:
    """Accept what SQLAlchemy and asyncpg users write, keep what libpq and asyncpg read; several hosts pass as they are."""
    if not isinstance(value, str):
        return value
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in POSTGRES_SCHEMES:
        raise ValueError("must look like postgresql://user@host:5432/database")
    return f"postgresql://{rest}"


def _secret_keys(keys: list[str]) -> list[str]:
    if not keys or any(len(key.encode()) < SECRET_KEY_BYTES_MIN for key in keys):
        raise ValueError(f"each key must have at least {SECRET_KEY_BYTES_MIN} bytes; make one with: openssl rand -hex 32")
    return keys


def _networks(words: list[str]) -> list[str]:
    parse_networks(words)
    return words


def _addresses(words: list[str]) -> list[str]:
    for word in words:
        host, _, port = word.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= 65_535:
            raise ValueError("takes host:port, several separated by commas, such as worker:9090,reaper:9090")
    return words


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_split)]
SecretKeys = Annotated[Names, AfterValidator(_secret_keys)]
PostgresAddress = Annotated[str, BeforeValidator(_postgres_address)]


class Settings(BaseModel):
    """The settings, under their canonical names in lower case without the prefix. Durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: PostgresAddress | None = Field(default=None, repr=False)
    database_direct_url: PostgresAddress | None = Field(default=None, repr=False)
    """Bypasses a pooler; LISTEN, leadership and migrations use it. The same as database_url unless set."""

    api_secret_keys: SecretKeys = Field(default=[], repr=False)
    """Sign JWTs: the first one signs, all verify."""

    rate_limit_requests_per_minute: int = Field(default=100, ge=1, le=1_000_000)
    tenant_max_concurrent: int = Field(default=10, ge=0, le=1_000_000)
    """0 = no limit."""
    tenant_max_queued: int = Field(default=1_000_000, ge=1, le=1_000_000_000)

    lease_seconds: float = Field(default=30, ge=5, le=3600)
    max_attempts: int = Field(default=3, ge=1, le=1000)
    max_crashes: int = Field(default=3, ge=1, le=1000)
    retry_base_seconds: float = Field(default=5, ge=0, le=SECONDS_MAX)
    retry_max_seconds: float = Field(default=3600, ge=0, le=SECONDS_MAX)
    pending_timeout_seconds: float | None = Field(default=None, gt=0, le=SECONDS_MAX)
    job_timeout_seconds: float = Field(default=3600, gt=0, le=SECONDS_MAX)
    cancel_grace_seconds: float = Field(default=30, ge=0, le=3600)
    shutdown_grace_seconds: float = Field(default=30, ge=0, le=3600)

    worker_queues: Names = Field(default=["*"], min_length=1)
    worker_concurrency: int = Field(default=100, ge=1, le=10_000)
    poll_interval: float = Field(default=1, gt=0, le=60)
    handlers: Names = []
    """Import paths of the modules that register handlers."""
    files_dir: str | None = None
    """The only directory handlers may read and write; None: they read and write no files."""
    isolated_memory_mib: int | None = Field(default=None, ge=64, le=16 * 1024 * 1024)
    """None: half of what the machine, or the container, has."""
    outbound_networks: Annotated[Names, AfterValidator(_networks)] = []
    """What handlers may reach over HTTP although it is not public."""
    smtp_host: str | None = None
    """None: the handler `email` sends nothing."""
    smtp_port: int | None = Field(default=None, ge=1, le=65535)
    smtp_security: Annotated[Literal["starttls", "tls", "none"], BeforeValidator(_lower)] = "starttls"
    smtp_username: str | None = Field(default=None, repr=False)
    smtp_password: str | None = Field(default=None, repr=False)
    smtp_from: str | None = None

    retention_days: int = Field(default=30, ge=2, le=3650)
    webhook_networks: Annotated[Names, AfterValidator(_networks)] = []
    """What webhooks may be delivered to although it is not public."""
    webhook_retention_days: int = Field(default=7, ge=5, le=3650)
    """From when a delivery was made; longer than one is tried."""
    audit_retention_days: int = Field(default=365, ge=2, le=3650)
    """At least retention_days count, whatever is set: the trail outlives the jobs it names."""
    registration: Annotated[Literal["closed", "open"], BeforeValidator(_lower)] = "closed"

    metrics_port: int = Field(default=9090, ge=0, le=65535)
    """0 = off."""
    metrics_open: bool = False
    metrics_peers: Annotated[Names, AfterValidator(_addresses)] = []
    """Metrics ports whose series the API's own port shows, too; a name may stand for several processes."""
    accept_unsafe_database: bool = False
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    log_format: Annotated[Literal["json", "console"] | None, BeforeValidator(_lower)] = None
    """None: json unless a terminal."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.retry_max_seconds < self.retry_base_seconds:
            raise ValueError(f"{PREFIX}RETRY_MAX_SECONDS: must be at least {PREFIX}RETRY_BASE_SECONDS")
        if self.smtp_host is not None and self.smtp_from is None:
            raise ValueError(f"{PREFIX}SMTP_FROM: is needed with {PREFIX}SMTP_HOST: who mails come from, such as jobs@example.com")
        if self.smtp_username is not None and self.smtp_security == "none":
            raise ValueError(f"{PREFIX}SMTP_SECURITY: with {PREFIX}SMTP_USERNAME it must not be none: the password would be sent in clear")
        return self

    @property
    def direct_url(self) -> str | None:
        """The address for LISTEN, leadership and migrations."""
        return self.database_direct_url or self.database_url


def load(env: Mapping[str, str], *, needs: Collection[str] = ()) -> Settings:
    """Read the settings from the environment given.

    needs names the attributes a role cannot run without, such as "database_url". Raises ConfigurationError.
    """
    env = {**env, **_kept_in_files(env)}
    try:
        settings = Settings.model_validate({field: env[name] for field in Settings.model_fields if (name := _used_name(field, env))})
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explain(fault["loc"], fault["msg"], env) for fault in error.errors())) from error
    missing = [field for field in needs if not getattr(settings, field)]
    if missing:
        raise ConfigurationError("; ".join(f"{_names(field)[0]} is not set: {HINTS.get(field, 'set it')}" for field in missing))
    return settings


def secret_names() -> Iterable[str]:
    """List the variables whose value may stand in a file."""
    return (name for field, about in Settings.model_fields.items() if not about.repr for name in _names(field))


def _kept_in_files(env: Mapping[str, str]) -> dict[str, str]:
    """Read what stands in files, where the variable itself is not set. Raises ConfigurationError."""
    return {
        name: _read(name + FILE_SUFFIX, path) for name in secret_names() if not _is_set(name, env) and (path := env.get(name + FILE_SUFFIX))
    }


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigurationError(f"{name}: cannot read {path}: {reason}") from error


def _is_set(name: str, env: Mapping[str, str]) -> bool:
    return bool(env.get(name, "").strip())


def _names(field: str) -> list[str]:
    """List the variables that set a field, the canonical one first."""
    canonical = PREFIX + ("API_SECRET_KEY" if field == "api_secret_keys" else field.upper())
    return [canonical, OLDER_NAMES[field]] if field in OLDER_NAMES else [canonical]


def _used_name(field: str, env: Mapping[str, str]) -> str | None:
    """Find the variable that sets the field here, if one does."""
    return next((name for name in _names(field) if _is_set(name, env)), None)


def _explain(loc: tuple[int | str, ...], message: str, env: Mapping[str, str]) -> str:
    """Say what is wrong with which variable, by the name the user set it under."""
    message = message.removeprefix("Value error, ")
    if not loc:  # a rule over several variables, whose message names them
        return message
    return f"{_used_name(str(loc[0]), env)}: {message[0].lower()}{message[1:]}"
