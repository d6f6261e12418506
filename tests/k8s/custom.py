"""Compare custom objects with the kept schemas of custom_schemas.yaml; no cluster and no operator is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

SCHEMAS: Final[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "custom_schemas.yaml").read_text())
TYPES: Final = {
    "string": lambda value: isinstance(value, str),
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "flag": lambda value: isinstance(value, bool),
    "duration": lambda value: isinstance(value, str) and re.fullmatch(r"\d+(ms|s|m|h|d)", value),
    "quantity": lambda value: isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?", value),
}


def key_of(item: dict[str, Any]) -> str:
    """Under which name the schemas have it."""
    return f"{item['apiVersion']} {item['kind']}"


def faults(item: dict[str, Any]) -> list[str]:
    """Say what is wrong with a custom object."""
    return list(_differences(item.get("spec"), SCHEMAS[key_of(item)], f"{key_of(item)} {item['metadata']['name']}"))


def _differences(value: Any, schema: Any, where: str) -> Iterator[str]:
    if isinstance(schema, str):
        if not TYPES[schema](value):
            yield f"{where}: {value!r} is no {schema}"
    elif isinstance(schema, list):
        if not isinstance(value, list) or not value:
            yield f"{where}: must be a list with something in it"
        else:
            for place, entry in enumerate(value):
                yield from _differences(entry, schema[0], f"{where}[{place}]")
    elif not isinstance(value, dict):
        yield f"{where}: must have fields"
    else:
        yield from _differing_fields(value, schema, where)


def _differing_fields(value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    known = {name.removesuffix("?"): inner for name, inner in schema.items()}
    for name in (name for name in schema if not name.endswith("?") and name != "*" and name not in value):
        yield f"{where}: {name} is missing"
    for name, inner in value.items():
        if name in known or "*" in known:
            yield from _differences(inner, known.get(name, known.get("*")), f"{where}.{name}")
        else:
            yield f"{where}: there is no field {name}"
