"""One HTTP request to an address a tenant chose, without reaching what only this machine can reach.

A name is resolved once per hop, every address it has is checked, and the connection goes to a checked address: what the name says a moment
later does not matter. `Host` and the name in TLS stay those of the URL, so certificates are verified as usual. Redirects are hops like the
first one. No proxy, no cookies, no credentials in a URL. The answer is read up to a size, all of it within one time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final

import httpx2

from jobqueue.domain.addresses import Address, Network, is_within, why_refused

PORTS: Final = frozenset({80, 443})
"""On public addresses; where an operator allows a network, its ports are the operator's business."""

URL_CHARS_MAX: Final = 2_048
ADDRESSES_TRIED_MAX: Final = 3
ADDRESSES_MAX: Final = 64
REDIRECTS_MAX: Final = 5
HEADERS_MAX: Final = 64
HEADER_CHARS_MAX: Final = 8_192
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
KEEPS_METHOD: Final = frozenset({307, 308})
CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
OURS: Final = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive", "proxy-authorization",
        "proxy-connection", "expect",
    }
)  # fmt: skip
"""Headers that are not the caller's to set: they belong to the connection."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) -> addresses. Raises OSError."""


class OutboundRefused(Exception):
    """The request is not made, or not followed further: trying again is of no use. The message says why."""


class AnswerTooLarge(OutboundRefused):
    """The answer has more bytes than the caller takes."""


class OutboundFailed(Exception):
    """The request was made, or tried, and got no answer: the name is not known just now, nobody listens, the connection broke."""


def resolver(threads: Executor | None = None) -> Resolve:
    """Make what asks the system for every address of a name. threads: where it waits; None: beside whatever else waits in this process."""

    async def ask(host: str, port: int) -> list[str]:
        if _is_address(host):
            return [host]
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(threads, look_up)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    return ask


def _is_address(host: str) -> bool:
    """Whether there is nothing to look up; other forms of an address, such as 127.1, are the system's to read."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


resolve: Final[Resolve] = resolver()


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be reached. allowed: networks that may be although they are not public, on any port. tls None: the usual verification."""

    allowed: tuple[Network, ...] = ()
    ports: frozenset[int] = PORTS
    resolve: Resolve = resolve
    tls: ssl.SSLContext | None = None

    async def addresses(self, host: str, port: int) -> list[str]:
        """Find where a name leads, or refuse it: one bad address among several is enough. Raises OutboundRefused, OutboundFailed."""
        try:
            found = await self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise OutboundFailed(f"the name {host!r} cannot be resolved: {error}") from error
        if not found:
            raise OutboundFailed(f"the name {host!r} has no address")
        if len(found) > ADDRESSES_MAX:
            raise OutboundRefused(f"the name {host!r} has more than {ADDRESSES_MAX} addresses")
        for text in found:
            self.check(host, port, ipaddress.ip_address(text))
        return found

    def check(self, host: str, port: int, address: Address) -> None:
        """Raises OutboundRefused for an address or port that is not to be reached. The address itself is not told: it may be secret."""
        if is_within(address, self.allowed):
            return
        if (why := why_refused(address)) is not None:
            raise OutboundRefused(f"{host!r} leads to an address that is not to be reached: {why}")
        if port not in self.ports:
            raise OutboundRefused(f"port {port} is not to be reached, only {' and '.join(map(str, sorted(self.ports)))}")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. seconds_max bounds all of it, hops included; body_bytes_max the answer; redirects how many hops are followed."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds_max: float = 30.0
    body_bytes_max: int = 1024 * 1024
    redirects_max: int = 0


@dataclass(slots=True)
class Answer:
    """What came back. chunks gives the body as it arrives, at most body_bytes_max of it."""

    status: int
    headers: dict[str, str]
    url: str
    chunks: AsyncGenerator[bytes]


@asynccontextmanager
async def sending(request: Outgoing, guard: Guard) -> AsyncIterator[Answer]:
    """Send a request and hand over its answer, whose body is read inside the block.

    Raises OutboundRefused (AnswerTooLarge while reading), OutboundFailed, and TimeoutError after seconds_max.
    """
    assert 0 <= request.redirects_max <= REDIRECTS_MAX
    check_headers(request.headers)
    tls = _usual_tls() if guard.tls is None else guard.tls
    async with asyncio.timeout(request.seconds_max), httpx2.AsyncClient(trust_env=False, verify=tls, timeout=None) as client:
        response, url = await _follow(client, request, guard)
        try:
            async with aclosing(_chunks(response, request.body_bytes_max)) as chunks:
                yield Answer(response.status_code, _told(response.headers), str(url), chunks)
        finally:
            await response.aclose()


@cache
def _usual_tls() -> ssl.SSLContext:
    """Verify against the usual authorities; made once, since reading them takes some 20 ms."""
    return httpx2.create_ssl_context()


async def _follow(client: httpx2.AsyncClient, request: Outgoing, guard: Guard) -> tuple[httpx2.Response, httpx2.URL]:
    url, method, body, headers = parse_url(request.url), request.method.upper(), request.body, dict(request.headers)
    for hops_left in range(request.redirects_max, -1, -1):
        response = await _send(client, method, url, headers, body, guard)
        target = response.headers.get("location")
        if response.status_code not in REDIRECTS or target is None or not hops_left:
            return response, url
        await response.aclose()
        following = parse_url(str(url.join(target)))
        if url.scheme == "https" and following.scheme != "https":
            raise OutboundRefused("a redirect leads from https to http")
        if (following.scheme, following.host, following.port) != (url.scheme, url.host, url.port):
            headers = {name: value for name, value in headers.items() if name.lower() not in CREDENTIALS}
        if response.status_code not in KEEPS_METHOD and method not in ("GET", "HEAD"):
            method, body = "GET", b""
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        url = following
    raise AssertionError("the last hop returns")


async def _send(
    client: httpx2.AsyncClient, method: str, url: httpx2.URL, headers: Mapping[str, str], body: bytes, guard: Guard
) -> httpx2.Response:
    """Make one hop, to the first of the checked addresses that takes the connection."""
    host = url.host
    port = url.port or (443 if url.scheme == "https" else 80)
    addresses = await guard.addresses(host, port)
    failure: Exception | None = None
    for address in addresses[:ADDRESSES_TRIED_MAX]:
        request = client.build_request(
            method,
            url.copy_with(host=address),
            headers={"accept-encoding": "identity", **headers, "host": url.netloc.decode("ascii")},
            content=body or None,
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except httpx2.ConnectError as error:  # nothing was sent: the next address may do
            failure = error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OutboundFailed(f"no answer from {host!r}: {type(error).__name__}: {error}") from error
    raise OutboundFailed(f"no connection to {host!r}: {failure}") from failure


async def _chunks(response: httpx2.Response, bytes_max: int) -> AsyncGenerator[bytes]:
    """Read the body as it was sent: nothing is unpacked, so a small body cannot become a large one."""
    read = 0
    try:
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > bytes_max:
                raise AnswerTooLarge(f"the answer has more than {bytes_max} bytes")
            yield chunk
    except httpx2.HTTPError as error:
        raise OutboundFailed(f"the answer broke off after {read} bytes: {type(error).__name__}") from error


def parse_url(text: str) -> httpx2.URL:
    """Read an address. Raises OutboundRefused for what is no http(s) URL with a host and without credentials."""
    if len(text) > URL_CHARS_MAX:
        raise OutboundRefused(f"the URL has more than {URL_CHARS_MAX} characters")
    try:
        url = httpx2.URL(text)
        port = url.port
    except (httpx2.InvalidURL, ValueError, UnicodeError) as error:
        raise OutboundRefused(f"that is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise OutboundRefused("the URL must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise OutboundRefused("the URL holds credentials; send an Authorization header instead")
    if port is not None and not 1 <= port <= 65_535:
        raise OutboundRefused("the URL's port is none")
    return url


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises OutboundRefused for a header that cannot be sent, or that belongs to the connection."""
    if len(headers) > HEADERS_MAX or sum(len(name) + len(value) for name, value in headers.items()) > HEADER_CHARS_MAX:
        raise OutboundRefused(f"at most {HEADERS_MAX} headers, {HEADER_CHARS_MAX} characters in all")
    for name, value in headers.items():
        if not name or not all(char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~") for char in name):
            raise OutboundRefused(f"header name {name[:40]!r} is none")
        if name.lower() in OURS:
            raise OutboundRefused(f"header {name!r} belongs to the connection and is not to be set")
        if not value.isascii() or not all(char.isprintable() or char == "\t" for char in value):
            raise OutboundRefused(f"header {name!r} has a value of other than printable ASCII")


def _told(headers: httpx2.Headers) -> dict[str, str]:
    """Keep a bounded part of an answer's headers; a name that came twice is joined."""
    told: dict[str, str] = {}
    size = 0
    for name in list(dict.fromkeys(headers.keys()))[:HEADERS_MAX]:
        value = headers[name]
        size += len(name) + len(value)
        if size > HEADER_CHARS_MAX:
            break
        told[name] = value
    return told
