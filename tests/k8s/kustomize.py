"""Render a kustomization as `kubectl kustomize` does, for the features ours use, so that no test needs kubectl.

Known: resources (files, folders), components, images, patches that delete, and JSON patches (RFC 6902) by target. Anything else in a
kustomization is refused. test_manifests.py compares the outcome with kubectl's own where it is installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = "kustomization.yaml"
KNOWN: Final = {"apiVersion", "kind", "resources", "components", "images", "patches"}
Item = dict[str, Any]


def render(directory: Path, below: list[Item] | None = None) -> list[Item]:
    """List the objects of a kustomization, or those below as a component makes them."""
    said = yaml.safe_load((directory / FILE).read_text())
    assert set(said) <= KNOWN, f"{directory}: not known here: {set(said) - KNOWN}"
    items = list(below or [])
    for resource in said.get("resources", []):
        path = directory / resource
        items += render(path) if path.is_dir() else [item for item in yaml.safe_load_all(path.read_text()) if item]
    for component in said.get("components", []):
        items = render(directory / component, items)
    for patch in said.get("patches", []):
        items = _patched(items, patch)
    for image in said.get("images", []):
        _set_image(items, image)
    return items


def _patched(items: list[Item], patch: dict[str, Any]) -> list[Item]:
    what = yaml.safe_load(patch["patch"])
    if isinstance(what, dict):
        assert what["$patch"] == "delete", "only patches that delete are known here"
        kept = [item for item in items if _name(item) != _name(what)]
        assert len(kept) == len(items) - 1, f"nothing to delete: {_name(what)}"
        return kept
    target = patch["target"]
    found = [item for item in items if item["kind"] == target["kind"] and re.fullmatch(target["name"], item["metadata"]["name"])]
    assert found, f"nothing to patch: {target}"
    for item in found:
        for step in what:
            _do(item, step)
    return items


def _do(item: Any, step: dict[str, Any]) -> None:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
    for part in way:
        item = item[int(part) if isinstance(item, list) else part]
    assert step["op"] in ("add", "replace"), step
    if isinstance(item, list) and last == "-":
        item.append(step["value"])
    else:
        key: Any = int(last) if isinstance(item, list) else last
        assert step["op"] == "add" or item[key] is not None
        item[key] = step["value"]


def _name(item: Item) -> tuple[str, str, str]:
    return item["apiVersion"], item["kind"], item["metadata"]["name"]


def _set_image(value: Any, image: dict[str, str]) -> None:
    if isinstance(value, list):
        for entry in value:
            _set_image(entry, image)
    elif isinstance(value, dict):
        if isinstance(value.get("image"), str) and value["image"].split(":")[0] == image["name"]:
            value["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
        for entry in value.values():
            _set_image(entry, image)
