"""What workers were told of their writes, against what the database did: the token is the fence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.faults.findings import Finding
from tests.faults.history import Change, History

REAPER: Final = "jobqueue-reaper"
SLACK_NS: Final = 2_000_000_000
"""A change is stamped before its commit; an answer later than this after the stamp has seen it."""


@dataclass(slots=True)
class Answer:
    """What one settlement or beat was answered."""

    process: str
    job: str
    token: str
    kind: str
    status: str
    sent_ns: int
    told_ns: int


def settle_answers(history: History) -> list[Answer]:
    """Every settlement that was answered."""
    found = []
    for call in history.calls("settle"):
        if call.end is not None and call.kind == "ok":
            for (job, token, kind), (status, _) in zip(call.invoke.data["items"], call.end.data["answers"], strict=True):
                found.append(Answer(call.invoke.process, job, token, kind, status, call.invoke.at_ns, call.end.at_ns))
    return found


def beat_answers(history: History) -> list[Answer]:
    """Every beat that was answered."""
    found = []
    for call in history.calls("beat"):
        if call.end is not None and call.kind == "ok":
            for (job, token), status in zip(call.invoke.data["items"], call.end.data["answers"], strict=True):
                found.append(Answer(call.invoke.process, job, token, "beat", status, call.invoke.at_ns, call.end.at_ns))
    return found


def ends_of_leases(history: History) -> dict[tuple[str, str], list[Change]]:
    """By job and token: when the lease was taken out of the table, and by whom."""
    found: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in history.changes:
        if change.table == "lease" and change.op == "D" and change.token is not None:
            found[change.job, change.token].append(change)
    return found


def stale_settle_accepted(history: History) -> Iterator[Finding]:
    """A settle that was taken although somebody else had ended that lease."""
    ends = ends_of_leases(history)
    for answer in settle_answers(history):
        if answer.status in ("settled", "replayed"):
            by = [change.by for change in ends.get((answer.job, answer.token), ())]
            if by and all(name == REAPER for name in by):
                yield Finding(
                    "stale_settle_accepted", f"{answer.process}: {answer.status} of job {answer.job}, whose lease the reaper had ended"
                )


def settle_lost(history: History) -> Iterator[Finding]:
    """A settle that was acknowledged, and the database knows nothing of it."""
    ends = ends_of_leases(history)
    for answer in settle_answers(history):
        if answer.status in ("settled", "replayed") and (answer.job, answer.token) not in ends:
            yield Finding("settle_lost", f"{answer.process}: {answer.status} of job {answer.job} with token {answer.token} never happened")


def settled_twice(history: History) -> Iterator[Finding]:
    """One token ended twice, or told `settled` twice."""
    for (job, token), changes in ends_of_leases(history).items():
        if len(changes) > 1:
            yield Finding("settled_twice", f"job {job}: the lease with token {token} ended {len(changes)} times")
    told = Counter((answer.job, answer.token) for answer in settle_answers(history) if answer.status == "settled")
    for (job, token), count in told.items():
        if count > 1:
            yield Finding("settled_twice", f"job {job}: token {token} was told `settled` {count} times")


def settle_wrongly_refused(history: History) -> Iterator[Finding]:
    """`lease_lost`, although the lease stood, or although this very settle had ended it (then it is `replayed`)."""
    ends = ends_of_leases(history)
    kinds: dict[str, set[str]] = defaultdict(set)
    for call in history.calls("settle"):
        for _, token, kind in call.invoke.data["items"]:
            kinds[token].add(kind)
    for answer in settle_answers(history):
        if answer.status == "lease_lost":
            changes = ends.get((answer.job, answer.token), [])
            if not changes or (not history.params.steps_clock and changes[0].at_ns > answer.told_ns + SLACK_NS):
                yield Finding("settle_wrongly_refused", f"{answer.process}: job {answer.job} was lease_lost while its lease stood")
            elif changes[0].by != REAPER and len(kinds[answer.token]) == 1:
                yield Finding("settle_wrongly_refused", f"{answer.process}: job {answer.job} was lease_lost to the one who had settled it")


def stale_beat_accepted(history: History) -> Iterator[Finding]:
    """A beat told `ok` that renewed nothing under its token."""
    renewed = Counter((change.job, change.token) for change in history.changes if change.table == "lease" and change.op == "U")
    told = Counter((answer.job, answer.token) for answer in beat_answers(history) if answer.status in ("ok", "cancel_requested"))
    for (job, token), count in told.items():
        if count > renewed[job, token]:
            yield Finding("stale_beat_accepted", f"job {job}: {count} beats of token {token} were ok, {renewed[job, token]} renewed it")


def beat_wrongly_refused(history: History) -> Iterator[Finding]:
    """A beat told `lost` while the lease stood."""
    ends = ends_of_leases(history)
    for answer in beat_answers(history):
        if answer.status == "lost":
            changes = ends.get((answer.job, answer.token), [])
            if not changes or (not history.params.steps_clock and changes[0].at_ns > answer.told_ns + SLACK_NS):
                yield Finding("beat_wrongly_refused", f"{answer.process}: a beat of job {answer.job} was lost while its lease stood")
