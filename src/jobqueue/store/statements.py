"""Load the statements: sql/<noun>/<verb>.sql becomes `statement("<noun>/<verb>")`, its `@name` parameters become $1, $2, ...

The header comment of each file is its contract (STYLE.md, "SQL"); tests prepare every file on the migrated schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

PARAMETER: Final = re.compile(r"(?<![@\w])@([a-z_][a-z0-9_]*)")
MANY_TENANTS: Final = re.compile(r"^-- tenant:", re.MULTILINE)
COMMENT: Final = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, ready for asyncpg: positional text and the names of its parameters in order.

    is_of_one_tenant: it binds @tenant_id and does not say otherwise, so it may run behind the second wall (store/wall.py).
    """

    name: str
    text: str
    parameters: tuple[str, ...]
    is_of_one_tenant: bool = False

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Put named values in order. Raises KeyError for a missing one, AssertionError for one too many."""
        assert len(values) == len(self.parameters), f"{self.name} takes {self.parameters}, not {tuple(values)}"
        return [values[name] for name in self.parameters]


def compile_statement(name: str, source: str) -> Statement:
    """Turn named parameters into positional ones and drop the comments, which the server need not parse each time."""
    parameters: list[str] = []

    def position(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            parameters.append(match[1])
        return f"${parameters.index(match[1]) + 1}"

    body = PARAMETER.sub(position, COMMENT.sub("", source))
    text = "\n".join(line for line in body.splitlines() if line.strip())
    return Statement(name, text, tuple(parameters), "tenant_id" in parameters and not MANY_TENANTS.search(source))


def source(name: str) -> str:
    """Read sql/<name>.sql with its comments."""
    return resources.files(__package__).joinpath("sql", *f"{name}.sql".split("/")).read_text("utf-8")


@cache
def statement(name: str) -> Statement:
    """Load a statement by `noun/verb`."""
    return compile_statement(name, source(name))


def all_names() -> list[str]:
    """Every `noun/verb` there is, without the installed functions."""
    root = resources.files(__package__).joinpath("sql")
    return sorted(
        f"{noun.name}/{verb.name.removesuffix('.sql')}"
        for noun in root.iterdir()
        if noun.is_dir() and noun.name != "functions"
        for verb in noun.iterdir()
        if verb.name.endswith(".sql")
    )
