"""How commands reach the service: address and key from flags or the environment, errors as one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.domain.errors import (
    InvalidFields,
    InvalidRequest,
    JobQueueError,
    NotFound,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
)

if TYPE_CHECKING:
    from jobqueue.client.async_client import AsyncClient
    from jobqueue.client.blocking_client import Client

URL_DEFAULT: Final = "http://127.0.0.1:8000"
DEV_KEY: Final = Path(".jobqueue/api_key")
"""Where `jobqueue dev` keeps the demo tenant's key, seen from the directory it was started in."""

LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
RETRY_FOR_S: Final = 2.0
"""A person waits: after this a call says what is wrong instead of trying on."""

Url = Annotated[str, typer.Option("--url", envvar="JOBQUEUE_URL", metavar="URL", help="Where the API is.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="JOBQUEUE_API_KEY",
        metavar="KEY",
        help=f"Your key. On this machine without one: {DEV_KEY}, which `jobqueue dev` writes.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


@contextmanager
def connected(url: str, api_key: str | None, *, retry_for_s: float = RETRY_FOR_S) -> Iterator["Client"]:
    """Open a client while the block runs. Raises StartRefused for what the user has to change, RoleFailed for what did not go."""
    from jobqueue.client.blocking_client import Client

    with plain_words(url), Client(check_url(url), api_key=find_key(url, api_key), retry_for=retry_for_s) as client:
        yield client


def open_async(url: str, api_key: str | None, *, timeout_s: float, retry_for_s: float) -> "AsyncClient":
    """Make a client for an event loop; the caller closes it, inside plain_words."""
    from jobqueue.client.async_client import AsyncClient

    return AsyncClient(check_url(url), api_key=find_key(url, api_key), timeout=timeout_s, retry_for=retry_for_s)


def check_url(url: str) -> str:
    """Raises StartRefused for what is no address."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_address = False
    if not is_address:
        raise StartRefused(f"{url!r} is no address; --url and JOBQUEUE_URL look like {URL_DEFAULT}")
    return url


def find_key(url: str, api_key: str | None) -> str:
    """Take the key given, else that of a `jobqueue dev` started in this directory. Raises StartRefused when there is none."""
    if api_key:
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise StartRefused("the API key has characters no key has; copy it again, whole and without quotes")
        return api_key
    if urlsplit(url).hostname in LOCAL_HOSTS and DEV_KEY.is_file():
        try:
            return DEV_KEY.read_text().strip()
        except OSError:
            pass
    raise StartRefused("no API key: set JOBQUEUE_API_KEY or give --api-key; `jobqueue dev` prints one in its ready line")


@contextmanager
def plain_words(url: str) -> Iterator[None]:
    """Turn the client's errors into one line: a refusal (exit 2) where the user has to change the call, else a failure (exit 1)."""
    try:
        yield
    except JobQueueError as error:
        raise explain(error, url) from error


def explain(error: JobQueueError, url: str) -> Exception:
    """Say what went wrong and what to do about it."""
    from jobqueue.client.problems import UnexpectedAnswer, Unreachable

    match error:
        case Unreachable():
            return RoleFailed(f"nothing answers at {url} ({error}); start it with `jobqueue dev`, or set JOBQUEUE_URL")
        case UnexpectedAnswer():
            return RoleFailed(f"what answers at {url} is no jobqueue ({error}); check JOBQUEUE_URL")
        case Unauthenticated():
            return StartRefused(f"{url} does not know this key: check JOBQUEUE_API_KEY or --api-key")
        case ScopeMissing():
            scope = getattr(error, "scope", None)
            return StartRefused(f"this key may not do that: it needs the scope {scope}; make one with `jobqueue keys create`")
        case InvalidFields():
            return StartRefused("; ".join(f"{_field(pointer)}: {detail}" for pointer, detail in error.fields))
        case InvalidRequest():
            return StartRefused(str(error))
        case NotFound():
            hint = "; it may be another tenant's, or older than the retention" if "job" in str(error) else ""
            return RoleFailed(f"{error}{hint}")
        case RateLimited():
            return RoleFailed(f"{error}: the tenant's requests per minute are used up; try again in {_seconds(error)}")
        case _:
            return RoleFailed(str(error))


def _field(pointer: str) -> str:
    return pointer.removeprefix("/payload").lstrip("/") or "the request"


def _seconds(error: Any) -> str:
    return f"{getattr(error, 'retry_after_s', 1):g} s"
