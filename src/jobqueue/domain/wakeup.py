"""What a wake-up says: the lanes that got due jobs, as one short text. Losing one costs a poll's wait, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jobqueue.domain.rotation import Lane

BYTES_MAX: Final = 7_900
"""NOTIFY takes 7,999."""
EVERYWHERE: Final = "*"
"""More lanes than fit: look for yourself."""


def encode(lanes: Iterable[Lane]) -> str:
    """Write lanes as `tenant.queue.type.band` words."""
    text = " ".join(".".join(map(str, lane)) for lane in lanes)
    return text if len(text) <= BYTES_MAX else EVERYWHERE


def decode(payload: str) -> list[Lane] | None:
    """Read lanes; None: everywhere, or not a wake-up of ours."""
    if payload == EVERYWHERE:
        return None
    try:
        words = [tuple(map(int, word.split("."))) for word in payload.split()]
    except ValueError:
        return None
    return [(word[0], word[1], word[2], word[3]) for word in words if len(word) == 4]
