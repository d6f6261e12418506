"""Figures of a run: what happened how often (`sometimes` counters), and how long things took."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from tests.faults.checks.runs import NS_PER_S, overlaps_outside_lease, windows
from tests.faults.checks.writes import REAPER, beat_answers, settle_answers
from tests.faults.history import History

WORKERS: Final = {"jobqueue-worker", "jobqueue-heartbeat"}


def counters(history: History) -> dict[str, int]:
    """Count what a run can have seen; a run names those that must not be zero."""
    found: Counter[str] = Counter()
    for op in history.ops:
        if op.verb == "nemesis":
            found[f"nemesis_{op.data['what']}"] += 1
    found.update(_submit_counters(history))
    found.update(_truth_counters(history))
    settled = settle_answers(history)
    found["settle_refused"] = sum(answer.status == "lease_lost" for answer in settled)
    found["settle_replayed"] = sum(answer.status == "replayed" for answer in settled)
    found["settled"] = sum(answer.status == "settled" for answer in settled)
    found["settle_unknown"] = sum(call.kind == "info" for call in history.calls("settle"))
    beats = beat_answers(history)
    found["beat_lost"] = sum(answer.status == "lost" for answer in beats)
    found["beat_unknown"] = sum(call.kind == "info" for call in history.calls("beat"))
    found["claim_unknown"] = sum(call.kind == "info" for call in history.calls("claim"))
    found.update(_stale_counters(history))
    found["started"] = len(history.notes("start"))
    found["overlap_outside_lease"] = overlaps_outside_lease(history)
    found["snapshots"] = len(history.notes("snapshot"))
    return dict(found)


def _stale_counters(history: History) -> Counter[str]:
    """What was sent on purpose under a token that the reaper had taken away; one whose own settle had landed before is not stale."""
    found: Counter[str] = Counter()
    taken = {
        (change.job, change.token) for change in history.changes if change.table == "lease" and change.op == "D" and change.by == REAPER
    }
    for call in history.calls("stale"):
        if call.end is not None and (call.invoke.data["job"], call.invoke.data["token"]) in taken:
            for what in ("beat", "progress", "settle"):
                found[f"stale_{what}_sent"] += 1
                found[f"stale_{what}_refused"] += call.end.data[what] in ("lost", "lease_lost")
    return found


def _submit_counters(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    unknown: set[tuple[int, str]] = set()
    for call in history.calls("submit"):
        code = None if call.end is None else call.end.data.get("code")
        found["submits"] += 1
        found[f"submit_{call.kind}"] += 1
        if code is not None:
            found[f"answer_{code}"] += 1
        key = call.invoke.data["tenant"], call.invoke.data["key"]
        if call.kind == "info":
            unknown.add(key)
        elif key in unknown:  # the first answer after an unknown one says whether that one had happened
            unknown.discard(key)
            found["submit_info_happened" if code == 200 else "submit_info_had_not_happened"] += 1
    found["keys"] = len({(call.invoke.data["tenant"], call.invoke.data["key"]) for call in history.calls("submit")})
    return found


def _truth_counters(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    for change in history.changes:
        if change.table == "lease" and change.op == "D":
            if change.by == REAPER:
                found["recovered_started" if change.detail == "started" else "recovered_unstarted"] += 1
        elif change.table == "ended" and change.op == "I":
            found[change.detail or "ended"] += 1
            if change.detail == "dlq":
                is_by_attempts = change.attempt >= change.attempts_max
                found["dlq_by_attempts" if is_by_attempts else "dlq_by_crashes_or_word"] += 1
        elif change.table == "ready" and change.op == "I" and change.by in WORKERS:
            found["released"] += 1
    for row in history.rows.values():
        found[f"end_{row.status}"] += 1
        if row.status == "dlq":
            found[f"dlq_of_{row.job_type}"] += 1
        found[f"jobs_of_{row.job_type}"] += 1
    return found


def quantiles(values: Sequence[float]) -> dict[str, float | int]:
    """Count, median, p99 and maximum."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 3),
        "max": round(ordered[-1], 3),
    }


def orphans(history: History) -> tuple[list[float], list[float], list[float]]:
    """For each lease in the hands of a worker as it was killed: seconds until it was recovered, and the job leased and started again."""
    held: dict[str, dict[str, str]] = defaultdict(dict)  # process -> token -> job
    again: list[float] = []
    started: list[float] = []
    leased = _times(history, "lease")
    starts: dict[str, list[int]] = defaultdict(list)
    for op in history.notes("start"):
        starts[op.data["job"]].append(op.at_ns)
    gone = {(change.job, change.token): change for change in history.changes if change.table == "lease" and change.op == "D"}
    recovered: list[float] = []
    for call in history.calls("claim"):
        if call.end is not None and call.kind == "ok":
            for job, token, *_ in call.end.data["leases"]:
                held[call.invoke.process][token] = job
    for op in history.notes("nemesis"):
        if op.data["what"] == "kill_worker":
            for token, job in held[op.data["target"]].items():
                end = gone.get((job, token))
                if end is not None and end.by == REAPER and end.at_ns > op.at_ns:
                    recovered.append((end.at_ns - op.at_ns) / NS_PER_S)
                    again += _after(leased[job], op.at_ns)
                    started += _after(starts[job], op.at_ns)
    return recovered, again, started


def _times(history: History, table: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for change in history.changes:
        if change.table == table and change.op == "I":
            found[change.job].append(change.at_ns)
    return found


def _after(times: list[int], at_ns: int) -> list[float]:
    position = bisect_right(times, at_ns)
    return [(times[position] - at_ns) / NS_PER_S] if position < len(times) else []


def figures(history: History) -> dict[str, Any]:
    """What the report tells beside the verdict."""
    recovered, leased_again, started_again = orphans(history)
    submits = history.calls("submit")
    answered = [(call.end.at_ns - call.invoke.data.get("due", call.invoke.at_ns)) / NS_PER_S for call in submits if call.end is not None]
    claims = [
        (call.invoke.at_ns, (call.end.at_ns - call.invoke.at_ns) / NS_PER_S) for call in history.calls("claim") if call.end is not None
    ]
    unknown = sum(call.kind == "info" for call in submits)
    first_fault_ns = _first_fault_ns(history)
    return {
        "ran_s": round((history.ops[-1].at_ns - history.ops[0].at_ns) / NS_PER_S, 1),
        "jobs": len(history.rows),
        "submit_s_from_due": quantiles(answered),
        "claim_s": quantiles([second for _, second in claims]),
        "claim_s_before_fault": quantiles([second for at_ns, second in claims if at_ns < first_fault_ns]),
        "call_s": quantiles(_calls_s(history)),
        "ended_after_lease_s": quantiles(_ended_after_lease_s(history)),
        "term_exit_s": quantiles([op.data["seconds"] for op in history.notes("term_ended")]),
        "released_leased_again_s": quantiles(_released_s(history)),
        "started_within_5_s": _started_within(history, 5.0),
        "errors_after_heal": errors_after_heal(history),
        "info_rate": round(unknown / max(1, len(submits)), 4),
        "orphan_recovered_s": quantiles(recovered),
        "orphan_leased_again_s": quantiles(leased_again),
        "orphan_started_again_s": quantiles(started_again),
        "in_flight_at_faults": quantiles([float(count) for count in in_flight_at_faults(history)]),
    }


def _calls_s(history: History) -> list[float]:
    """How long workers' calls to their database took, without the time their process was stopped in."""
    stops: dict[str, list[int]] = defaultdict(list)
    for op in history.notes("nemesis"):
        if op.data["what"].startswith("stop"):
            stops[op.data["target"]].append(op.at_ns)
    return [
        (call.end.at_ns - call.invoke.at_ns) / NS_PER_S
        for verb in ("claim", "beat", "settle")
        for call in history.calls(verb)
        if call.end is not None and not any(call.invoke.at_ns <= at_ns <= call.end.at_ns for at_ns in stops[call.invoke.process])
    ]


def _ended_after_lease_s(history: History) -> list[float]:
    """How much longer than its lease could be trusted a run went on, in processes that were never stopped."""
    stopped = {op.data["target"] for op in history.notes("nemesis") if op.data["what"].startswith("stop")}
    return [
        (window.end_ns - window.trusted_until_ns) / NS_PER_S
        for window in windows(history)
        if window.end_ns is not None and window.end_ns > window.trusted_until_ns and window.process not in stopped
    ]


def _released_s(history: History) -> list[float]:
    """How soon a released job was leased again."""
    found: list[float] = []
    leased = _times(history, "lease")
    for change in history.changes:
        if change.table == "ready" and change.op == "I" and change.by in WORKERS:
            found += _after(leased[change.job], change.at_ns)
    return found


def _first_fault_ns(history: History) -> int:
    return min((op.at_ns for op in history.notes("nemesis")), default=history.ops[-1].at_ns)


def _started_within(history: History, seconds: float) -> float:
    """Which part of the acknowledged jobs started so soon after the acknowledgement."""
    starts: dict[str, int] = {}
    for op in history.notes("start"):
        starts.setdefault(op.data["job"], op.at_ns)
    acknowledged: dict[str, int] = {}
    for call in history.calls("submit"):
        if call.end is not None and call.kind == "ok":
            acknowledged.setdefault(call.end.data["job"], call.end.at_ns)
    soon = sum(job in starts and starts[job] - at_ns <= seconds * NS_PER_S for job, at_ns in acknowledged.items())
    return round(soon / max(1, len(acknowledged)), 4)


def errors_after_heal(history: History) -> int:
    """Submits sent two seconds or more after healing that were not answered as they should be."""
    healed = [op.at_ns for op in history.notes("healed")]
    if not healed:
        return 0
    late = [call for call in history.calls("submit") if call.invoke.at_ns > healed[-1] + 2 * NS_PER_S]
    return sum(call.kind == "info" or (call.end is not None and call.end.data.get("code") is None) for call in late)


def in_flight_at_faults(history: History) -> list[int]:
    """At each fault: submits without an answer, and runs without an end. Faults that meet no load prove little."""
    steps: list[tuple[int, int]] = []
    for call in history.calls("submit"):
        steps += [(call.invoke.at_ns, 1), (call.end.at_ns if call.end else call.invoke.at_ns, -1)]
    for window in windows(history):
        steps += [(window.start_ns, 1), (window.end_ns if window.end_ns is not None else window.valid_until_ns, -1)]
    steps.sort()
    times = [at_ns for at_ns, _ in steps]
    running, totals = 0, [0]
    for _, step in steps:
        running += step
        totals.append(running)
    return [totals[bisect_right(times, op.at_ns)] for op in history.notes("nemesis")]
