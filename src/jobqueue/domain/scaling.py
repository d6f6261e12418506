"""How many workers a queue needs: Little's law for what arrives, and a time to be rid of what waits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

BACKLOG_S: Final = 60.0
"""What waits now shall be done within this."""
DURATION_S_DEFAULT: Final = 1.0
"""Taken for a queue none of whose jobs has ended yet."""
UTILISATION: Final = 0.8
"""Of a worker's slots that are planned for: at full use, waits grow without bound."""


@dataclass(frozen=True, slots=True)
class Load:
    """A queue's load. Rates are jobs a second.

    duration_s: the mean run, None when none has ended; concurrency: jobs a worker runs at once.
    """

    ready: int
    running: int
    arrival_rate: float
    duration_s: float | None
    concurrency: float


def desired_workers(load: Load) -> int:
    """Answer how many workers keep up with arrivals and are rid of the backlog in BACKLOG_S; 0 for a queue at rest.

    Slots busy in the steady state are arrival rate x duration (J. D. C. Little, 1961); a backlog of n jobs needs
    n x duration / BACKLOG_S more.
    """
    assert load.concurrency > 0
    if not load.ready and not load.running and load.arrival_rate <= 0:
        return 0
    duration_s = DURATION_S_DEFAULT if load.duration_s is None else load.duration_s
    slots = (load.arrival_rate + load.ready / BACKLOG_S) * duration_s / UTILISATION
    return max(1, math.ceil(slots / load.concurrency))
