"""One function an anomaly: a History in, Findings out, pure. `ALL` is what a run is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tests.faults.checks import ends, limits, places, runs, submits, writes
from tests.faults.findings import Finding
from tests.faults.history import History

Check = Callable[[History], Iterator[Finding]]

ALL: Final[tuple[Check, ...]] = (
    submits.lost,
    submits.stuck,
    submits.phantom,
    submits.duplicate_submission,
    submits.conflict_accepted,
    submits.conflict_wrongly_told,
    submits.wrong_answer,
    writes.stale_settle_accepted,
    writes.settle_lost,
    writes.settled_twice,
    writes.settle_wrongly_refused,
    writes.stale_beat_accepted,
    writes.beat_wrongly_refused,
    runs.overlap,
    runs.run_without_lease,
    limits.tenant_limit,
    limits.tenant_limit_seen,
    limits.conservation,
    places.misplaced,
    places.attempts,
    places.crashes,
    places.early_start,
    ends.wrong_dlq,
    ends.effect,
    ends.cancel_broken,
    ends.died,
    ends.damaged,
)
