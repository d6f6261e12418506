"""What every worker process is set up with, whichever way it reaches its jobs. Needs the base install only."""

import os
import secrets
import socket
from collections.abc import Iterable
from typing import Final

from jobqueue.apps.refusals import StartRefused
from jobqueue.config import Settings
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import HandlerError, Registry, default_registry, load_handlers
from jobqueue.worker.surroundings import JobsAddress, Smtp

EVERY_QUEUE: Final = "*"
SUFFIX_BYTES: Final = 2
MIB: Final = 1024**2


def load_registry(modules: Iterable[str]) -> Registry:
    """Gather the built-in handlers and those of the modules. Raises StartRefused."""
    try:
        load_handlers(modules)
        registry = Registry()
        registry.include(default_registry)
        registry.include(spec for spec in BUILTIN if spec.name not in registry)
        registry.check()
    except HandlerError as error:
        raise StartRefused(f"JOBQUEUE_HANDLERS: {error}") from error
    return registry


def make_worker_id() -> str:
    """Name this process: the host, the process, and some chance, since containers share both."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(SUFFIX_BYTES)}"


def worker_options(settings: Settings, *, worker_id: str, jobs: JobsAddress | None = None) -> WorkerOptions:
    """What the settings make of a worker. jobs: where `ctx.jobs` reads."""
    return WorkerOptions(
        worker_id=worker_id,
        concurrency=settings.worker_concurrency,
        poll_interval_s=settings.poll_interval,
        shutdown_grace_s=settings.shutdown_grace_seconds,
        cancel_grace_s=settings.cancel_grace_seconds,
        isolated_memory_bytes=None if settings.isolated_memory_mib is None else settings.isolated_memory_mib * MIB,
        files_dir=files_dir(settings),
        smtp=smtp(settings),
        outbound_networks=tuple(settings.outbound_networks),
        jobs=jobs,
    )


def smtp(settings: Settings) -> Smtp | None:
    """The mail server, where there is one."""
    if settings.smtp_host is None:
        return None
    assert settings.smtp_from is not None, "checked with the settings"
    return Smtp(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        username=settings.smtp_username,
        password=settings.smtp_password,
        sender=settings.smtp_from,
    )


def files_dir(settings: Settings) -> str | None:
    """Where handlers' files are, as an absolute path. Raises StartRefused when it is no directory: a lost mount is not made anew."""
    if settings.files_dir is None:
        return None
    if not os.path.isdir(settings.files_dir):
        raise StartRefused("JOBQUEUE_FILES_DIR: it is not a directory; make it, or leave the variable out if handlers need no files")
    return os.path.abspath(settings.files_dir)


def queues_of(settings: Settings) -> tuple[str, ...] | None:
    """The queues a worker takes from; None: all of them."""
    return None if EVERY_QUEUE in settings.worker_queues else tuple(settings.worker_queues)
