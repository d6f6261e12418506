"""What a check says it found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One anomaly: its name, and one sentence that names the job, key or token."""

    anomaly: str
    what: str
