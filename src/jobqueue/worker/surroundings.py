"""What a worker gives its handlers beside the job: plain data, so that the process of an isolated run gets the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Literal, Protocol
from uuid import UUID

SmtpSecurity = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """The mail server of the handler `email`. sender is who mails come from; port None: what is usual for the security."""

    host: str
    sender: str
    port: int | None = None
    security: SmtpSecurity = "starttls"
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class JobsAddress:
    """Where handlers read their tenant's jobs. opener is `module:function`; it is called with the address and the tenant's name."""

    opener: str
    address: str
    credential: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """files_dir: what `ctx.files` is below of. outbound_networks: what `http_request` may reach although it is not public."""

    files_dir: str | None = None
    smtp: Smtp | None = None
    outbound_networks: tuple[str, ...] = ()
    jobs: JobsAddress | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job of the tenant's as lists show it."""

    id: UUID
    queue: str
    job_type: str
    status: str
    priority: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TenantJobs(Protocol):
    """The jobs of one tenant, and of nobody else."""

    def iterate(self, *, created_after: datetime, created_before: datetime) -> AsyncIterator[JobRow]:
        """Give the jobs submitted in a period, newest first, reading on as needed. Raises JobQueueError."""


class JobsNotReachable(Exception):
    """This worker has no way to its tenants' jobs."""


def open_jobs(address: JobsAddress | None, tenant: str) -> TenantJobs:
    """Make the reader of one tenant's jobs; it connects when it is used. Raises JobsNotReachable."""
    if address is None:
        raise JobsNotReachable("handlers read no jobs here: this worker was started without a way to them")
    module, _, function = address.opener.partition(":")
    jobs: TenantJobs = getattr(import_module(module), function)(address, tenant)
    return jobs
