"""What changes, as it changes: the seam between `jobs watch` and how it learns of changes. Here by asking again and again."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from jobqueue.client.blocking_client import Client

POLL_S: Final = 2.0
"""Half of the default rate limit of 100 requests a minute leaves room for other commands."""

PAGE_JOBS: Final = 200
KNOWN_MAX: Final = 10_000
"""Jobs whose last state is remembered; of more the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Change:
    """A job as it is now, which it was not when it was last seen."""

    at: datetime
    job: Any


class Feed(Protocol):
    """Where changes come from."""

    def changes(self) -> Iterator[Change]:
        """Give changes as they come, until interrupted."""


class PollingFeed:
    """Asks for the newest jobs of a filter, and tells those that have changed. What changes twice between two looks is told once."""

    def __init__(self, client: "Client", filters: Mapping[str, Any], *, poll_s: float = POLL_S) -> None:
        self._client = client
        self._filters = filters
        self._poll_s = poll_s
        self._known: dict[Any, tuple[Any, ...]] = {}

    def changes(self) -> Iterator[Change]:
        """Give changes as they come, beginning with what there is of running and waiting jobs."""
        while True:
            yield from self.look()
            time.sleep(self._poll_s)

    def look(self) -> list[Change]:
        """Ask once; oldest first."""
        page = self._client.page(page_size=PAGE_JOBS, **self._filters)
        found = [Change(job.finished_at or job.started_at or job.created_at, job) for job in reversed(page.items) if self._is_news(job)]
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return found

    def _is_news(self, job: Any) -> bool:
        state = (job.status, job.attempt, job.progress, job.progress_message)
        is_news = self._known.get(job.id) != state
        self._known[job.id] = state
        return is_news
