"""Logs: one JSON object a line on stderr, `timestamp level event` first; for a terminal, coloured lines.

The standard library's loggers (uvicorn, asyncpg, alembic) come out in the same form. What must never be logged is taken out here as a
last wall: secret fields by their name, secrets inside strings by their look.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from jobqueue.domain.lease import Lease
from jobqueue.telemetry.events import Event

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FIRST: Final = ("timestamp", "level", "event")
SECRET_FIELDS: Final = frozenset(
    {
        *("access_token", "api_key", "authorization", "cookie", "data", "lease_token", "password", "payload", "result"),
        *("secret", "secret_key", "ticket", "token"),
    }
)
SECRETS: Final = (
    (re.compile(r"jq_[A-Za-z0-9_-]{8,}"), "jq_***"),
    (re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
    (re.compile(r"(://[^:/@\s]*:)[^@\s]+@"), r"\1***@"),
    (re.compile(r"(?i)(bearer )[^\s\"']+"), r"\1***"),
)
PROCESS_IDS: Final[dict[str, str]] = {}
HANDLED: Final[ContextVar[Lease | None]] = ContextVar("handled", default=None)
SPAN: Final[ContextVar[tuple[str, str] | None]] = ContextVar("span", default=None)
QUIET: Final = ("uvicorn.access", "httpx2", "httpcore2")  # one line per request is the metrics' business
LIBRARY_LEVEL: Final = logging.WARNING  # other packages' info is for their authors


def configure_logs(level: Level = "info", form: Format | None = None, stream: TextIO | None = None) -> None:
    """Set up logging of the whole process; calling it again replaces the former set-up.

    form None is console on a terminal, else json. stream None is stderr: stdout belongs to the commands' answers.
    """
    out = stream if stream is not None else sys.stderr
    chosen = form or ("console" if out.isatty() else "json")
    render: Processor = (
        render_json
        if chosen == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    prepare: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_ids,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        *([structlog.processors.format_exc_info] if chosen == "json" else []),
        hide_secrets,
    ]
    structlog.configure(
        processors=[*prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_names: structlog.PrintLogger(out),
        cache_logger_on_first_use=False,  # else loggers of modules keep a former stream
    )
    _route_standard_library(out, LEVELS[level], prepare, render)


def name_process(**ids: str) -> None:
    """Put ids on every line of this process from now on, whichever thread or task writes it."""
    PROCESS_IDS.update(ids)


def handle(lease: Lease) -> None:
    """Say that what runs in this context is that job's handler: its lines carry the job's ids."""
    HANDLED.set(lease)


def mark_span(trace_id: str, span_id: str) -> None:
    """Put these on every line logged in this context."""
    SPAN.set((trace_id, span_id))


def add_ids(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add the process's ids, those of the job being handled and those of the present span, where the line has none of its own."""
    lease = HANDLED.get()
    if lease is not None:
        line.setdefault("job_id", str(lease.job_id))
        line.setdefault("tenant_id", lease.tenant)
        line.setdefault("attempt", lease.standing.attempt)
        if lease.correlation_id is not None:
            line.setdefault("correlation_id", lease.correlation_id)
        if lease.trace_id is not None:
            line.setdefault("trace_id", lease.trace_id)
    if (span := SPAN.get()) is not None:
        line.setdefault("trace_id", span[0])
        line.setdefault("span_id", span[1])
    for name, value in PROCESS_IDS.items():
        line.setdefault(name, value)
    return line


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Make a logger; its lines carry the fields bound with context()."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def context(**ids: str | int | None) -> AbstractContextManager[None]:
    """Put ids (job_id, tenant_id, worker_id, correlation_id, request_id ...) on every line logged inside, in this task and its children."""
    return structlog.contextvars.bound_contextvars(**{name: value for name, value in ids.items() if value is not None})


def log_event(event: Event) -> None:
    """Log an event under its name, with its fields; at its class's `level`, which is debug unless it says otherwise.

    A subscriber for Telemetry.subscribe_all.
    """
    level = LEVELS[getattr(event, "level", "debug")]
    logger = get_logger()
    if not logger.is_enabled_for(level):  # most events are debug ones on the hot path
        return
    fact: Any = event
    values: dict[str, Any] = {}
    if is_dataclass(fact):
        values = {field.name: value for field in fields(fact) if (value := getattr(event, field.name)) is not None}
    fault = values.get("error")
    if isinstance(fault, BaseException):
        values["error"] = f"{type(fault).__name__}: {fault}"
        values["exc_info"] = fault
    logger.log(level, event.name, **values)


def hide_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Take out fields that must not be logged, and mask keys, tokens and passwords inside strings."""
    for name in SECRET_FIELDS.intersection(line):
        del line[name]
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = _mask(value)
    return line


def render_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """Write a line as JSON, the fixed fields first. Never fails: what JSON does not know is written as text."""
    ordered = {name: line.pop(name) for name in FIRST if name in line} | dict(line)
    try:
        return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # lone surrogates, integers over 64 bits
        return json.dumps({str(name): value for name, value in ordered.items()}, default=str)


def _mask(text: str) -> str:
    for secret, mask in SECRETS:
        text = secret.sub(mask, text)
    return text


def _route_standard_library(out: TextIO, level: int, prepare: list[Processor], render: Processor) -> None:
    """Send the root logger's records through the same chain."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.stdlib.add_logger_name, *prepare],
            processors=[_drop_record, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, LIBRARY_LEVEL))
    for name in ("uvicorn", "uvicorn.error", "alembic"):
        _inherit(name, level)
    for name in QUIET:
        _inherit(name, LIBRARY_LEVEL)


def _inherit(name: str, level: int) -> None:
    logger = logging.getLogger(name)
    logger.handlers = []
    logger.propagate = True
    logger.setLevel(level)


def _drop_record(_logger: WrappedLogger, _method: str, line: EventDict) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("_record", "_from_structlog")}
