"""Read what a run left in its directory: the records of its processes, the database's own account, and the rows at the end.

    *.jsonl        records of clients, workers and the nemesis (record.py)
    truth.ndjson   the changes the database's triggers wrote (truth.py), in the order of their sequence
    rows.ndjson    every job as it stood at the end
    params.json    what the run was: limits, lease, which anomalies and counters it is judged by

Invariant: a record that cannot be read is a fault of the run, except for the last line of a process that was killed in the middle of it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(slots=True)
class Op:
    """One record."""

    process: str
    number: int
    at_ns: int
    kind: str
    verb: str
    data: dict[str, Any]


@dataclass(slots=True)
class Change:
    """One row that a trigger saw come (I), go (D) or change (U), in the order of seq. at_ns is moved to the records' clock.

    by: the application that did it. running: of an inserted lease, how many leases its tenant had then. detail: of a lease that went,
    whether it was started; of `ended` and `outcome` the state; of `scheduled` the reason. until_ns: of a lease its expiry, of `scheduled`
    when it is due.
    """

    seq: int
    xid: int
    at_ns: int
    by: str
    table: str
    op: str
    tenant: int
    job: str
    token: str | None = None
    attempt: int = 0
    attempts_max: int = 0
    crashes: int = 0
    running: int = 0
    detail: str | None = None
    until_ns: int = 0


@dataclass(slots=True)
class Row:
    """One job at the end. body: which of the bodies sent under its key it holds. token, run: of its newest outcome, if it has one."""

    job: str
    tenant: int
    key: str | None
    job_type: str
    status: str
    body: str | None
    token: str | None = None
    run: str | None = None


@dataclass(slots=True)
class Params:
    """What the run was.

    is_drained: everything was given the time to end. sometimes: counters that must not be zero. expected: anomalies that are the point of
    a control (fsync off), so their absence fails it. steps_clock: the wall clock was stepped, so nothing is judged by the database's times.
    """

    seed: int = 0
    lease_s: float = 5.0
    cancel_grace_s: float = 2.0
    crashes_max: int = 3
    tenant_caps: dict[str, int] = field(default_factory=dict)
    clock_offset_ns: int = 0
    is_drained: bool = True
    steps_clock: bool = False
    sometimes: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    title: str = ""


@dataclass(slots=True)
class Call:
    """A call with its end, if it has one."""

    invoke: Op
    end: Op | None = None

    @property
    def kind(self) -> str:
        """How it ended; a call without an end is `info`: its process died in it."""
        return "info" if self.end is None else self.end.kind


@dataclass(slots=True)
class History:
    """A whole run."""

    params: Params
    ops: list[Op]
    changes: list[Change]
    rows: dict[str, Row]

    def calls(self, verb: str) -> list[Call]:
        """The calls of one verb, in the order they were made."""
        found: dict[tuple[str, int], Call] = {}
        for op in self.ops:
            if op.verb == verb and op.kind != "note":
                if op.kind == "invoke":
                    found[op.process, op.number] = Call(op)
                else:
                    found[op.process, op.number].end = op
        return list(found.values())

    def notes(self, verb: str) -> list[Op]:
        """What was noted under one verb."""
        return [op for op in self.ops if op.verb == verb and op.kind == "note"]

    def by_job(self) -> dict[str, list[Change]]:
        """The changes of each job, in order."""
        found: dict[str, list[Change]] = defaultdict(list)
        for change in self.changes:
            found[change.job].append(change)
        return found


class BrokenHistory(Exception):
    """The run's files cannot be judged: the message says why."""


def load(directory: Path) -> History:
    """Read a run. Raises BrokenHistory when it is empty or damaged."""
    params = Params(**orjson.loads((directory / "params.json").read_bytes()))
    ops = sorted(_ops(directory.glob("*.jsonl")), key=lambda op: op.at_ns)
    if not ops:
        raise BrokenHistory("no process recorded anything")
    offset = params.clock_offset_ns
    changes = [_change(record, offset) for record in _records(directory / "truth.ndjson")]
    changes.sort(key=lambda change: change.seq)
    rows = {record["job"]: Row(**record) for record in _records(directory / "rows.ndjson")}
    return History(params, ops, changes, rows)


def _ops(files: Iterable[Path]) -> Iterator[Op]:
    for file in sorted(files):
        for record in _records(file, may_be_cut=True):
            head = (record.pop("p"), record.pop("i"), record.pop("t"), record.pop("ty"), sys.intern(record.pop("f")))
            yield Op(*head, record)


def _change(record: dict[str, Any], offset_ns: int) -> Change:
    change = Change(**record)
    change.at_ns -= offset_ns
    change.until_ns -= offset_ns if change.until_ns else 0
    change.by, change.table, change.op, change.job = (sys.intern(word) for word in (change.by, change.table, change.op, change.job))
    return change


def _records(file: Path, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    lines = file.read_bytes().split(b"\n")
    is_cut = lines[-1] != b""
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield orjson.loads(line)
        except ValueError as error:
            if may_be_cut and is_cut and number == len(lines):
                return
            raise BrokenHistory(f"{file.name}, line {number}: {error}") from error
