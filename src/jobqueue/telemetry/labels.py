"""Bounds for the values of labels that tenants and workers choose, so that nobody can make series without end."""

import threading
from typing import Final

LABEL_VALUES_MAX: Final = 200
OTHER: Final = "other"


class LabelGuard:
    """Bound the distinct values of one label."""

    def __init__(self, values_max: int = LABEL_VALUES_MAX) -> None:
        self._values_max = values_max
        self._known: set[str] = set()
        self._change = threading.Lock()

    def __call__(self, value: str) -> str:
        """Give the value itself if it has or can have a series, else OTHER."""
        if value in self._known:
            return value
        with self._change:
            if value == OTHER or len(self._known) >= self._values_max:
                return OTHER
            self._known.add(value)
            return value

    def __contains__(self, value: str) -> bool:
        return value in self._known
