"""What changes, as it changes: what `jobs watch` shows of the live feed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobqueue.client.blocking_client import Client


def changes(client: "Client", filters: Mapping[str, Any]) -> Iterator[Any]:
    """Give the jobs of a filter as they are, those that have not ended, and then every change as it comes, until interrupted.

    filters: queue and job_type, which the service knows, and status, which is looked at here.
    """
    statuses = frozenset(filters.get("status", ()))
    chosen = {name: values for name, values in filters.items() if name != "status"}
    for told in client.watch(snapshot=True, **chosen):
        if hasattr(told, "job") and (not statuses or told.job.status in statuses):
            yield told
