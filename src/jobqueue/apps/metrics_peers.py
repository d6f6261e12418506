"""The metrics of several processes as one page: what they count is summed, what describes a process is only our own.

For people who look at the API port of `jobqueue dev` or of a small deployment. Prometheus scrapes each process on its own port and does
the sums itself.
"""

import asyncio
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from jobqueue.aio.supervise import spawn

ANSWER_S_MAX: Final = 1.0
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
PEERS_MAX: Final = 50
"""Processes asked for one page, however many addresses the names stand for."""
REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
OF_A_PROCESS: Final = ("process_", "python_", "build_info")

Address = tuple[str, int]


async def fetch_pages(addresses: Iterable[Address]) -> list[str]:
    """Read /metrics of every process the addresses stand for; one that does not answer in time is left out."""
    found: set[Address] = set()
    for host, port in addresses:
        found.update(await _resolve(host, port))
    async with asyncio.TaskGroup() as group:
        asking = [spawn(group, _fetch(host, port), "metrics-peer") for host, port in sorted(found)[:PEERS_MAX]]
    return [page for task in asking if (page := task.result()) is not None]


async def _resolve(host: str, port: int) -> set[Address]:
    """A name may stand for several processes: the containers of a service."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return set()
    return {(str(entry[4][0]), port) for entry in found}


async def _fetch(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection(host, port, limit=PAGE_BYTES_MAX)
            try:
                writer.write(REQUEST)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode() if head.split(b" ")[1:2] == [b"200"] else None


def merge(own: str, others: Sequence[str], *, only_own: Collection[str] = ()) -> str:
    """Sum pages in the text format (without timestamps), family by family, in the order they first appear.

    only_own: families that are taken from our own page alone.
    """
    families: dict[str, dict[str, float]] = {}
    for name, line, value in _samples(own):
        families.setdefault(name, {})[line] = value
    for page in others:
        for name, line, value in _samples(page):
            if not name.startswith(OF_A_PROCESS) and name not in only_own:
                family = families.setdefault(name, {})
                family[line] = family.get(line, 0.0) + value
    heads = {name: head for page in (*others, own) for name, head in _heads(page)}
    return "".join(f"{heads.get(name, '')}{_written(samples)}" for name, samples in families.items())


def only_tenant(page: str, tenant: str) -> str:
    """Leave the series of one tenant, whose name needs no escapes, and the heads of their families."""
    label = f'tenant_id="{tenant}"'
    families: dict[str, dict[str, float]] = {}
    for name, series, value in _samples(page):
        if label in series:
            families.setdefault(name, {})[series] = value
    heads = dict(_heads(page))
    return "".join(f"{heads.get(name, '')}{_written(samples)}" for name, samples in families.items())


def _samples(page: str) -> Iterator[tuple[str, str, float]]:
    """Read (family, series, value) of every line."""
    family = ""
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            family = line.split(" ")[2]
        elif line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            yield family, series, float(value)


def _heads(page: str) -> Iterator[tuple[str, str]]:
    """Read the HELP and TYPE lines of every family."""
    text = ""
    for line in page.splitlines():
        if line.startswith("# HELP "):
            text = f"{line}\n"
        elif line.startswith("# TYPE "):
            yield line.split(" ")[2], f"{text}{line}\n"
            text = ""


def _written(samples: dict[str, float]) -> str:
    return "".join(f"{series} {value!r}\n" for series, value in samples.items())
