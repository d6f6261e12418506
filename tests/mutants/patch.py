"""Take one guard out of the product, at test time: a patch of a function's source, in SQL or in Python. The product has no switches.

A patch whose text is not found exactly once, or changes nothing, is an error of its own kind: it is never taken for a mutant that was
caught.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jobqueue.store.functions import function_source

Edits = tuple[tuple[str, str], ...]


class PatchDoesNotApply(Exception):
    """The source is not what the mutant was written against: write the mutant anew."""


def edited(source: str, edits: Edits, where: str) -> str:
    """Apply edits to a source. Raises PatchDoesNotApply."""
    for old, new in edits:
        if source.count(old) != 1 or old == new:
            raise PatchDoesNotApply(f"{where}: {source.count(old)} places read {old!r}")
        source = source.replace(old, new)
    return source


@dataclass(frozen=True)
class Sql:
    """A server-side function without a guard."""

    function: str
    edits: Edits

    @property
    def where(self) -> str:
        return f"store/sql/functions/{self.function}.sql"

    def source(self) -> str:
        """The function without its guard. Raises PatchDoesNotApply."""
        return edited(function_source(self.function), self.edits, self.where)

    def statements(self) -> tuple[str, str]:
        """What installs the mutant, and what brings the product's function back."""
        return tuple(
            text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION") for text in (self.source(), function_source(self.function))
        )  # type: ignore[return-value]


def _replacing(source: str) -> str:
    return source.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


@dataclass(frozen=True)
class Python:
    """A function or method without a guard. path: `module:name` or `module:Class.method`."""

    path: str
    edits: Edits

    @property
    def where(self) -> str:
        return self.path.partition(":")[0].replace("jobqueue.", "", 1).replace(".", "/") + ".py"

    def _found(self) -> tuple[Any, Any, str]:
        module = import_module(self.path.partition(":")[0])
        *outer, name = self.path.partition(":")[2].split(".")
        owner = module
        for part in outer:
            owner = getattr(owner, part)
        return module, owner, name

    def source(self) -> str:
        """The function without its guard. Raises PatchDoesNotApply."""
        _, owner, name = self._found()
        return edited(textwrap.dedent(inspect.getsource(vars(owner)[name])), self.edits, self.path)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the block with the mutant in the product's place."""
        module, owner, name = self._found()
        kept = vars(owner)[name]
        scope: dict[str, Any] = {}
        exec(compile(f"from __future__ import annotations\n{self.source()}", f"<mutant of {self.path}>", "exec"), vars(module), scope)
        holders = [owner, *(each for each in list(sys.modules.values()) if each is not owner and vars(each).get(name) is kept)]
        for holder in holders:  # also those that imported it by name
            setattr(holder, name, scope[name])
        try:
            yield
        finally:
            for holder in holders:
                setattr(holder, name, kept)
