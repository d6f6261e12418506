"""The metrics of several processes as one page, for `jobqueue dev`: what they count is summed, what describes a process is only our own.

Elsewhere each process is scraped on its own port, and Prometheus does the sums.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

VARIABLE: Final = "JOBQUEUE_DEV_METRICS_PORTS"
"""Tells the api where the others' metrics are; set by dev alone, for its own children."""

HOST: Final = "127.0.0.1"
ANSWER_S_MAX: Final = 1.0
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
OF_A_PROCESS: Final = ("process_", "python_")


def read_ports(text: str) -> list[int]:
    """Read what VARIABLE holds."""
    return [int(word) for word in text.split(",") if word]


async def gather(own: bytes, ports: Iterable[int]) -> bytes:
    """Add the pages of other processes to our own."""
    return merge(own.decode(), await fetch_pages(ports)).encode()


async def fetch_pages(ports: Iterable[int]) -> list[str]:
    """Read /metrics of processes on this machine, one after the other; one that does not answer is left out."""
    return [page for port in ports if (page := await _fetch(port)) is not None]


async def _fetch(port: int) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection(HOST, port, limit=PAGE_BYTES_MAX)
            try:
                writer.write(REQUEST)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode() if head.split(b" ")[1:2] == [b"200"] else None


def merge(own: str, others: Sequence[str]) -> str:
    """Sum pages in the text format (without timestamps), family by family, in the order they first appear."""
    families: dict[str, dict[str, float]] = {}
    for name, line, value in _samples(own):
        families.setdefault(name, {})[line] = value
    for page in others:
        for name, line, value in _samples(page):
            if not name.startswith(OF_A_PROCESS):
                family = families.setdefault(name, {})
                family[line] = family.get(line, 0.0) + value
    heads = {name: head for page in (*others, own) for name, head in _heads(page)}
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
