"""What a wake-up says, as one short text. Losing one costs a poll's wait, nothing else.

It names lanes that got due jobs, as `tenant.queue.type.band`. Besides, claimers and settlers talk about tenants at a limit:
`?tenant.sender`, the sender has free slots, but this tenant, which has work waiting, is at its limit; `!tenant.sender`, a job of such a
tenant was settled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jobqueue.domain.rotation import Lane

BYTES_MAX: Final = 7_900
"""NOTIFY takes 7,999."""
EVERYWHERE: Final = "*"
"""More lanes than fit: look for yourself."""


HUNGRY, VACANT = "?", "!"
Note = tuple[str, int, int]
"""HUNGRY or VACANT, the tenant, and who says so."""


def encode(lanes: Iterable[Lane], notes: Iterable[Note] = ()) -> str:
    """Write lanes and notes as words."""
    words = [".".join(map(str, lane)) for lane in lanes]
    text = " ".join([*words, *(f"{kind}{tenant}.{sender}" for kind, tenant, sender in notes)])
    return text if len(text) <= BYTES_MAX else EVERYWHERE


def decode(payload: str) -> list[Lane] | None:
    """Read lanes; None: everywhere, or not a wake-up of ours."""
    if payload == EVERYWHERE:
        return None
    try:
        words = [tuple(map(int, word.split("."))) for word in payload.split() if word[0] not in (HUNGRY, VACANT)]
    except ValueError:
        return None
    return [(word[0], word[1], word[2], word[3]) for word in words if len(word) == 4]


def decode_notes(payload: str) -> list[Note]:
    """Read the notes; strangers' words are left out."""
    notes = []
    for word in payload.split():
        tenant, _, sender = word[1:].partition(".")
        if word[0] in (HUNGRY, VACANT) and tenant.isascii() and tenant.isdigit() and sender.isascii() and sender.isdigit():
            notes.append((word[0], int(tenant), int(sender)))
    return notes
