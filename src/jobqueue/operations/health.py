"""How the database is: figures that tell early what will be slow later. Read rarely, since reading them costs some milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from jobqueue.store import upkeep
from jobqueue.store.pool import Database
from jobqueue.telemetry.events import DatabaseMeasured

OLD_TRANSACTION_S: Final = 3600.0
"""A transaction open for longer is warned of: nothing that ended since its start can be cleaned up."""
NOTIFY_QUEUE_RATIO_MAX: Final = 0.5
"""Above this NOTIFY's queue is warned of: full, it fails commits. A listener that stays in a transaction fills it."""


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """The figures of one look. dead_rows: by table."""

    oldest_transaction_s: float
    notify_queue_ratio: float
    table_bytes: int
    index_bytes: int
    dead_rows: Mapping[str, int]
    connections: int = 0
    connections_max: int = 0

    @property
    def warnings(self) -> Mapping[str, str]:
        """What an operator should act on."""
        found = {}
        if self.oldest_transaction_s > OLD_TRANSACTION_S:
            found["oldest_transaction"] = f"a transaction has been open for {self.oldest_transaction_s:.0f} s: vacuum waits for it"
        if self.notify_queue_ratio > NOTIFY_QUEUE_RATIO_MAX:
            found["notify_queue"] = f"NOTIFY's queue is {self.notify_queue_ratio:.0%} full: a listener does not read"
        return found

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures by name, units last."""
        return {
            "oldest_transaction_seconds": round(self.oldest_transaction_s, 3),
            "notify_queue_ratio": self.notify_queue_ratio,
            "table_bytes": self.table_bytes,
            "index_bytes": self.index_bytes,
            "dead_rows": sum(self.dead_rows.values()),
            "connections": self.connections,
        }


async def read(db: Database) -> DatabaseHealth:
    """Look. Raises DatabaseUnavailable."""
    row = await upkeep.health(db)
    return DatabaseHealth(
        oldest_transaction_s=row["oldest_transaction_s"],
        notify_queue_ratio=row["notify_queue_ratio"],
        table_bytes=row["table_bytes"],
        index_bytes=row["index_bytes"],
        dead_rows=orjson.loads(row["dead_rows"]),
        connections=row["connections"],
        connections_max=row["connections_max"],
    )


def told(found: DatabaseHealth) -> DatabaseMeasured:
    """Make what is told of a look."""
    return DatabaseMeasured(
        found.oldest_transaction_s,
        found.notify_queue_ratio,
        found.table_bytes,
        found.index_bytes,
        dict(found.dead_rows),
        found.connections,
        found.connections_max,
    )
