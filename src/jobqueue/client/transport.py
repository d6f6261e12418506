"""Carry calls out over HTTP, from an event loop or blocking. Every request has a deadline; which ones are tried again is in retries.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeVar

import httpx2

from jobqueue.client.bulk import IMPORT_S_MAX, FileImport, OnProgress
from jobqueue.client.call import JSON_HEADERS, Answer, Call, as_model
from jobqueue.client.problems import Unreachable, read_problem
from jobqueue.client.retries import RetryPlan
from jobqueue.protocol.batches import ImportResult

Read = TypeVar("Read")

CONNECT_S_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 100
IDLE_S_MAX: Final = 30.0
"""How long an idle connection is kept: less than servers and their proxies keep theirs."""
HTTP_OK: Final = range(200, 300)

read_import: Final = as_model(ImportResult)


def _options(url: str, api_key: str, timeout_s: float) -> dict[str, Any]:
    assert timeout_s > 0
    return {
        "base_url": url.rstrip("/"),
        "headers": {"Authorization": f"Bearer {api_key}", "User-Agent": _user_agent(), "Accept": "application/json"},
        "timeout": httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S_MAX)),
        "limits": httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_S_MAX),
    }


def _user_agent() -> str:
    try:
        return f"jobqueue-python/{version('jobqueue')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "jobqueue-python"


class _Requests:
    """What both transports know: how a call becomes a request's arguments."""

    def __init__(self, timeout_s: float, plan: RetryPlan) -> None:
        self.timeout_s = timeout_s
        self.plan = plan

    def arguments(self, call: Call[Any]) -> dict[str, Any]:
        """Say what to send for a call."""
        timeout_s = self.timeout_s + call.wait_s
        return {
            "method": call.method,
            "url": call.path,
            "params": list(call.query) or None,
            "content": call.body,
            "headers": {**(JSON_HEADERS if call.body is not None else {}), **call.headers},
            "timeout": httpx2.Timeout(timeout_s, connect=min(self.timeout_s, CONNECT_S_MAX)),
        }

    def import_arguments(self, asked: FileImport) -> dict[str, Any]:
        """Say what to send for an import, beside its stream."""
        timeout = httpx2.Timeout(self.timeout_s, connect=min(self.timeout_s, CONNECT_S_MAX), read=IMPORT_S_MAX, write=IMPORT_S_MAX)
        return {"method": "POST", "url": "/v1/jobs/import", "timeout": timeout, **asked.request()}


async def _in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read a file without holding up the loop."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


class AsyncTransport:
    """For an event loop."""

    def __init__(
        self, url: str, *, api_key: str, timeout_s: float, plan: RetryPlan, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx2.AsyncClient(transport=transport, **_options(url, api_key, timeout_s))
        self._requests = _Requests(timeout_s, plan)

    async def send(self, call: Call[Read], *, plan: RetryPlan | None = None) -> Read:
        """Carry a call out, trying again as the plan says, the client's own unless given. Raises JobQueueError."""
        async for attempt in (plan or self._requests.plan).tries(is_repeatable=call.is_repeatable):
            with attempt:
                return await self.send_once(call)
        raise AssertionError

    async def send_once(self, call: Call[Read]) -> Read:
        """Carry a call out with one try. Raises JobQueueError."""
        with _as_unreachable():
            response = await self._http.request(**self._requests.arguments(call))
        return call.read(_answer(response))

    async def send_file(self, asked: FileImport, on_progress: OnProgress | None) -> ImportResult:
        """Import a file, from its start again when it broke off. Raises JobQueueError, OSError."""
        async for attempt in self._requests.plan.tries(is_repeatable=True):
            with attempt:
                with _as_unreachable():
                    content = _in_thread(asked.chunks(on_progress))
                    response = await self._http.request(content=content, **self._requests.import_arguments(asked))
                return read_import(_answer(response))
        raise AssertionError

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class BlockingTransport:
    """For code without an event loop; safe to use from several threads."""

    def __init__(self, url: str, *, api_key: str, timeout_s: float, plan: RetryPlan, transport: httpx2.BaseTransport | None = None) -> None:
        self._http = httpx2.Client(transport=transport, **_options(url, api_key, timeout_s))
        self._requests = _Requests(timeout_s, plan)

    def send(self, call: Call[Read], *, plan: RetryPlan | None = None) -> Read:
        """Carry a call out, trying again as the plan says, the client's own unless given. Raises JobQueueError."""
        for attempt in (plan or self._requests.plan).tries(is_repeatable=call.is_repeatable):
            with attempt:
                return self.send_once(call)
        raise AssertionError

    def send_once(self, call: Call[Read]) -> Read:
        """Carry a call out with one try. Raises JobQueueError."""
        with _as_unreachable():
            response = self._http.request(**self._requests.arguments(call))
        return call.read(_answer(response))

    def send_file(self, asked: FileImport, on_progress: OnProgress | None) -> ImportResult:
        """Import a file, from its start again when it broke off. Raises JobQueueError, OSError."""
        for attempt in self._requests.plan.tries(is_repeatable=True):
            with attempt:
                with _as_unreachable():
                    response = self._http.request(content=asked.chunks(on_progress), **self._requests.import_arguments(asked))
                return read_import(_answer(response))
        raise AssertionError

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _answer(response: httpx2.Response) -> Answer:
    if response.status_code not in HTTP_OK:
        raise read_problem(response.status_code, response.headers, response.content)
    return Answer(response.status_code, response.headers, response.content)


@contextmanager
def _as_unreachable() -> Iterator[None]:
    """Turn what the wire did into what a caller can do about it."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
        raise Unreachable(f"the service cannot be reached: {_words(error)}", was_sent=False) from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Unreachable(f"the service did not answer: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
