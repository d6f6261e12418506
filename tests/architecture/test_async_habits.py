"""Habits no linter knows: tasks are made at the sites named here, each with its reason."""

import ast
from pathlib import Path

import jobqueue

SOURCE = Path(jobqueue.__file__).parent
SITES = {
    "aio/supervise.py",  # spawn(): every task of a service has a group
    "worker/launch.py",  # launch(): one per job on the hot path; the executor holds and ends them
}


def makes_a_task(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr == "create_task" or ast.unparse(node.func) == "asyncio.Task"


def test_tasks_are_made_at_the_named_sites_only() -> None:
    strays = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).as_posix() not in SITES
        for node in ast.walk(ast.parse(path.read_text()))
        if makes_a_task(node) and isinstance(node, ast.Call)
    ]
    assert strays == []


def test_every_named_site_does_make_tasks() -> None:
    for site in SITES:
        assert any(makes_a_task(node) for node in ast.walk(ast.parse((SOURCE / site).read_text()))), site
