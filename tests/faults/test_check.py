"""The checker, on histories written by hand: a clean one passes, and each anomaly is found by its name, alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.faults import checks
from tests.faults.check import FAILED, PASSED, UNKNOWN, judge
from tests.faults.history import BrokenHistory, Change, History, Op, Params, Row, load

S = 1_000_000_000
API, WORKER, REAPER = "jobqueue-api", "jobqueue-worker", "jobqueue-reaper"


class Story:
    """One tenant's jobs, told step by step; times are in seconds."""

    def __init__(self, **params: object) -> None:
        self.params = Params(tenant_caps={"1": 2}, **params)  # type: ignore[arg-type]
        self.ops: list[Op] = []
        self.changes: list[Change] = []
        self.rows: dict[str, Row] = {}
        self._number = 0
        self._xid = 0

    def call(
        self,
        at: float,
        verb: str,
        said: dict[str, object],
        kind: str | None = "ok",
        told: dict[str, object] | None = None,
        process: str = "w1",
    ) -> None:
        self._number += 1
        self.ops.append(Op(process, self._number, int(at * S), "invoke", verb, said))
        if kind is not None:
            self.ops.append(Op(process, self._number, int((at + 0.01) * S), kind, verb, told or {}))

    def note(self, at: float, verb: str, process: str = "w1", **data: object) -> None:
        self._number += 1
        self.ops.append(Op(process, self._number, int(at * S), "note", verb, data))

    def move(self, at: float, by: str, job: str, *steps: tuple[str, str, dict[str, object]]) -> None:
        """One transaction: (table, op, what else is in the row)."""
        self._xid += 1
        for table, op, more in steps:
            self.changes.append(Change(len(self.changes), self._xid, int(at * S), by, table, op, 1, job, **{"attempts_max": 3, **more}))  # type: ignore[arg-type]

    def submit(self, at: float, job: str, *, key: str | None = None, body: str = "a", status: str = "succeeded") -> None:
        key = key or f"key-{job}"
        said = {"tenant": 1, "key": key, "body": body}
        self.call(at, "submit", said, "ok", {"job": job, "code": 201}, "client")
        self.move(at, API, job, ("job", "I", {}), ("ready", "I", {}))
        self.rows[job] = Row(job, 1, key, "quick", status, body)

    def claim(self, at: float, job: str, token: str, *, attempt: int = 1, running: int = 1, process: str = "w1", crashes: int = 0) -> None:
        self.call(at, "claim", {"n": 1}, "ok", {"leases": [[job, token, attempt, 1]]}, process)
        self.move(
            at, WORKER, job, ("ready", "D", {"attempt": attempt - 1, "crashes": crashes}),
            ("lease", "I", {"token": token, "attempt": attempt, "running": running, "crashes": crashes}),
        )  # fmt: skip

    def run(self, at: float, job: str, token: str, run: str, *, until: float | None, how: str = "ok", process: str = "w1") -> None:
        self.note(at, "start", process, job=job, tenant="acme", token=token, run=run)
        if until is not None:
            self.note(until, "end", process, job=job, token=token, run=run, how=how)

    def settle(self, at: float, job: str, token: str, run: str, *, attempt: int = 1, process: str = "w1") -> None:
        self.call(at, "settle", {"items": [[job, token, "succeeded"]]}, "ok", {"answers": [["settled", "succeeded"]]}, process)
        self.move(
            at,
            WORKER,
            job,
            ("lease", "D", {"token": token, "attempt": attempt, "detail": "started"}),
            ("outcome", "I", {"detail": "succeeded"}),
        )
        self.rows[job] = replace(self.rows[job], token=token, run=run)

    def recover(
        self, at: float, job: str, token: str, *, attempt: int = 1, crashes: int = 0, detail: str = "started", left: int | None = None
    ) -> None:
        after = attempt if left is None else left
        self.move(
            at, REAPER, job, ("lease", "D", {"token": token, "attempt": attempt, "crashes": crashes, "detail": detail}),
            ("ready", "I", {"attempt": after, "crashes": crashes + 1}),
        )  # fmt: skip

    def history(self) -> History:
        return History(self.params, sorted(self.ops, key=lambda op: op.at_ns), self.changes, self.rows)


def told(status: str, *, job: str, token: str, at: float, verb: str = "settle", process: str = "w1") -> Callable[[Story], None]:
    """A settle or a beat with its answer, and nothing in the database."""

    def tell(story: Story) -> None:
        if verb == "settle":
            story.call(at, "settle", {"items": [[job, token, "succeeded"]]}, "ok", {"answers": [[status, None]]}, process)
        else:
            story.call(at, "beat", {"items": [[job, token]]}, "ok", {"answers": [status]}, process)

    return tell


def plain() -> Story:
    """Two jobs: one just succeeds; the other's first worker is stopped, loses it, and is refused; the second one's result stands."""
    story = Story()
    story.submit(1, "j1")
    story.claim(2, "j1", "t1")
    story.run(2.1, "j1", "t1", "r1", until=2.5)
    story.settle(2.6, "j1", "t1", "r1")
    story.submit(3, "j2")
    story.claim(4, "j2", "t2")
    story.run(4.1, "j2", "t2", "r2", until=20, process="w1")
    story.recover(10, "j2", "t2")
    story.claim(11, "j2", "t3", attempt=2, process="w2", crashes=1)
    story.run(11.1, "j2", "t3", "r3", until=12, process="w2")
    story.settle(12.1, "j2", "t3", "r3", attempt=2, process="w2")
    told("lost", job="j2", token="t2", at=19, verb="beat")(story)
    told("lease_lost", job="j2", token="t2", at=20.1)(story)
    story.note(21, "snapshot", jobs=2, placed=2)
    story.note(15, "nemesis", what="stop_worker", target="w1")
    return story


def row_gone(story: Story) -> None:
    del story.rows["j1"]


def still_queued(story: Story) -> None:
    story.submit(30, "j3", status="queued")


def nobody_asked(story: Story) -> None:
    story.ops = [op for op in story.ops if not (op.verb == "submit" and op.number == 1)]


def two_ids(story: Story) -> None:
    story.submit(30, "j3", key="key-j1")
    story.claim(31, "j3", "t9")
    story.run(31.1, "j3", "t9", "r9", until=32)
    story.settle(33, "j3", "t9", "r9")


def other_body_taken(story: Story) -> None:
    story.call(1.5, "submit", {"tenant": 1, "key": "key-j1", "body": "b"}, "ok", {"job": "j1", "code": 200}, "client")


def refused_as_reused(story: Story) -> None:
    story.call(1.5, "submit", {"tenant": 1, "key": "key-j1", "body": "a"}, "fail", {"code": 422}, "client")


def crashed_api(story: Story) -> None:
    story.call(1.5, "submit", {"tenant": 1, "key": "key-j1", "body": "a"}, "info", {"code": 500}, "client")


def ended_twice(story: Story) -> None:
    story.call(2.7, "settle", {"items": [["j1", "t1", "succeeded"]]}, "ok", {"answers": [["settled", "succeeded"]]})


def starts_too_soon(story: Story) -> None:
    story.submit(30, "j3")
    story.claim(31, "j3", "t5")
    story.run(31.1, "j3", "t5", "r5", until=None)
    story.recover(32, "j3", "t5")
    story.claim(32.5, "j3", "t6", attempt=2, process="w2", crashes=1)
    story.run(33, "j3", "t6", "r6", until=34, process="w2")
    story.settle(34.1, "j3", "t6", "r6", attempt=2, process="w2")


def under_no_lease(story: Story) -> None:
    story.note(5, "start", "w3", job="j1", tenant="acme", token="t0", run="r0")


def three_leases(story: Story) -> None:
    story.submit(30, "j3")
    story.claim(31, "j3", "t5", running=3)
    story.run(31.1, "j3", "t5", "r5", until=32)
    story.settle(32.1, "j3", "t5", "r5")


def three_handlers(story: Story) -> None:
    for number in (5, 6, 7):
        story.submit(30, f"j{number}")
        story.claim(31, f"j{number}", f"t{number}")
        story.run(31.1, f"j{number}", f"t{number}", f"r{number}", until=32)
        story.settle(32.1, f"j{number}", f"t{number}", f"r{number}")


def cancelled_beside(*, third_at: float) -> Callable[[Story], None]:
    """Two runs whose worker is killed, one of them asked at 31.5 to be cancelled, which gives it until 33.5; and a third run."""

    def tell(story: Story) -> None:
        for number, worker in ((5, "w5"), (6, "w5"), (7, "w7")):
            at = third_at if worker == "w7" else 31
            story.submit(30, f"j{number}", status="cancelled" if number == 6 else "succeeded")
            story.claim(at, f"j{number}", f"t{number}", process=worker)
            story.run(at + 0.1, f"j{number}", f"t{number}", f"r{number}", until=None if worker == "w5" else at + 0.2, process=worker)
        story.call(31.5, "cancel", {"job": "j6"}, "ok", {"code": 202}, "client")
        story.move(
            33.6, REAPER, "j6", ("lease", "D", {"token": "t6", "attempt": 1, "detail": "started"}),
            ("outcome", "I", {"detail": "cancelled"}), ("ended", "I", {"attempt": 1, "detail": "cancelled"}),
        )  # fmt: skip
        story.settle(third_at + 0.3, "j7", "t7", "r7", process="w7")
        story.recover(36.1, "j5", "t5")
        story.claim(37, "j5", "t8", attempt=2, crashes=1, process="w7")
        story.run(37.1, "j5", "t8", "r8", until=38, process="w7")
        story.settle(38.1, "j5", "t8", "r8", attempt=2, process="w7")

    return tell


def snapshot_short(story: Story) -> None:
    story.note(22, "snapshot", jobs=2, placed=1)


def in_two_places(story: Story) -> None:
    story.submit(30, "j3", status="dlq")
    story.move(31, "jobqueue-api", "j3", ("ended", "I", {"detail": "cancelled"}))


def attempt_not_counted(story: Story) -> None:
    story.submit(30, "j3")
    story.call(31, "claim", {"n": 1}, "ok", {"leases": [["j3", "t5", 1, 1]]})
    story.move(31, WORKER, "j3", ("ready", "D", {"attempt": 1}), ("lease", "I", {"token": "t5", "attempt": 1, "running": 1}))
    story.run(31.1, "j3", "t5", "r5", until=32)
    story.settle(32.1, "j3", "t5", "r5")


def attempt_given_back(story: Story) -> None:
    story.submit(30, "j3")
    story.claim(31, "j3", "t5")
    story.run(31.1, "j3", "t5", "r5", until=None)
    story.recover(37, "j3", "t5", left=0)
    story.claim(38, "j3", "t6", crashes=1)
    story.run(38.1, "j3", "t6", "r6", until=39)
    story.settle(39.1, "j3", "t6", "r6")


def crash_not_counted(story: Story) -> None:
    story.submit(30, "j3")
    story.claim(31, "j3", "t5")
    story.run(31.1, "j3", "t5", "r5", until=None)
    story.move(
        37, REAPER, "j3", ("lease", "D", {"token": "t5", "attempt": 1, "detail": "started"}), ("ready", "I", {"attempt": 1, "crashes": 0})
    )
    story.claim(38, "j3", "t6", attempt=2)
    story.run(38.1, "j3", "t6", "r6", until=39)
    story.settle(39.1, "j3", "t6", "r6", attempt=2)


def before_its_time(story: Story) -> None:
    story.submit(30, "j3")
    story.changes[-1].table, story.changes[-1].until_ns = "scheduled", 40 * S
    story.move(39.5, REAPER, "j3", ("scheduled", "D", {"until_ns": 40 * S}), ("ready", "I", {}))
    story.claim(41, "j3", "t5")
    story.run(41.1, "j3", "t5", "r5", until=42)
    story.settle(42.1, "j3", "t5", "r5")


def buried_early(story: Story) -> None:
    story.submit(30, "j3", status="dlq")
    story.claim(31, "j3", "t5")
    story.run(31.1, "j3", "t5", "r5", until=32, how="error")
    story.call(32.1, "settle", {"items": [["j3", "t5", "failed"]]}, "ok", {"answers": [["settled", "dlq"]]})
    story.move(
        32.1, WORKER, "j3", ("lease", "D", {"token": "t5", "attempt": 1, "detail": "started"}),
        ("outcome", "I", {"detail": "dlq"}), ("ended", "I", {"attempt": 1, "detail": "dlq"}),
    )  # fmt: skip


def result_of_another_run(story: Story) -> None:
    story.rows["j2"] = replace(story.rows["j2"], run="r2")


def started_after_cancel(story: Story) -> None:
    story.call(1.5, "cancel", {"job": "j1"}, "ok", {"code": 202}, "client")
    story.submit(30, "j3", status="cancelled")
    story.move(30.5, API, "j3", ("ready", "D", {}), ("ended", "I", {"detail": "cancelled"}))
    story.call(31, "cancel", {"job": "j3"}, "ok", {"code": 200}, "client")
    story.rows["j3"] = replace(story.rows["j3"], status="dlq")


def worker_ended(story: Story) -> None:
    story.note(22, "died", target="w1", code=1)


def page_damaged(story: Story) -> None:
    story.note(23, "verified", "verify", program="pg_checksums", code=1, said="checksum verification failed")


ANOMALIES: dict[str, list[Callable[[Story], None]]] = {
    "lost": [row_gone],
    "stuck": [still_queued],
    "phantom": [nobody_asked],
    "duplicate_submission": [two_ids],
    "conflict_accepted": [other_body_taken],
    "conflict_wrongly_told": [refused_as_reused],
    "wrong_answer": [crashed_api],
    "stale_settle_accepted": [told("settled", job="j2", token="t2", at=20.5)],
    "settle_lost": [told("settled", job="j2", token="t7", at=20.5)],
    "settled_twice": [ended_twice],
    "settle_wrongly_refused": [told("lease_lost", job="j1", token="t1", at=2.9), told("lease_lost", job="j2", token="t3", at=11.5)],
    "stale_beat_accepted": [told("ok", job="j2", token="t2", at=5, verb="beat")],
    "beat_wrongly_refused": [told("lost", job="j2", token="t2", at=5, verb="beat")],
    "overlap": [starts_too_soon],
    "run_without_lease": [under_no_lease],
    "tenant_limit": [three_leases],
    "tenant_limit_seen": [three_handlers, cancelled_beside(third_at=33)],
    "conservation": [snapshot_short],
    "misplaced": [in_two_places],
    "attempts": [attempt_not_counted, attempt_given_back],
    "crashes": [crash_not_counted],
    "early_start": [before_its_time],
    "wrong_dlq": [buried_early],
    "effect": [result_of_another_run],
    "cancel_broken": [started_after_cancel],
    "died": [worker_ended],
    "damaged": [page_damaged],
}
CASES = [
    pytest.param(anomaly, spoil, id=f"{anomaly}-{number}") for anomaly, spoils in ANOMALIES.items() for number, spoil in enumerate(spoils)
]


def test_a_clean_history_passes() -> None:
    verdict = judge(plain().history())
    assert [finding.what for finding in verdict.findings] == []
    assert verdict.code == PASSED
    assert verdict.counters["settle_refused"] == verdict.counters["beat_lost"] == verdict.counters["recovered_started"] == 1


@pytest.mark.parametrize(("anomaly", "spoil"), CASES)
def test_each_anomaly_is_found_by_its_name_and_nothing_else_is(anomaly: str, spoil: Callable[[Story], None]) -> None:
    story = plain()
    spoil(story)
    verdict = judge(story.history())
    assert {finding.anomaly for finding in verdict.findings} == {anomaly}, verdict.as_text()
    assert verdict.code == FAILED


def test_every_check_has_a_history_that_it_refuses() -> None:
    assert {check.__name__ for check in checks.ALL} == set(ANOMALIES)


def test_a_run_in_which_a_fault_never_bit_is_unknown() -> None:
    story = plain()
    story.params.sometimes = ["settle_refused", "released"]
    verdict = judge(story.history())
    assert verdict.code == UNKNOWN
    assert verdict.missing == ["released"]


def test_a_control_that_shows_nothing_fails() -> None:
    story = plain()
    story.params.expected = ["lost"]
    assert judge(story.history()).code == FAILED
    row_gone(story)
    assert judge(story.history()).code == PASSED


def test_a_worker_that_overlaps_outside_its_lease_is_counted_and_allowed() -> None:
    assert judge(plain().history()).counters["overlap_outside_lease"] == 1


def test_a_cancelled_run_holds_its_place_until_the_grace_is_over() -> None:
    story = plain()
    cancelled_beside(third_at=34)(story)
    verdict = judge(story.history())
    assert verdict.code == PASSED, verdict.as_text()


def written(story: Story, directory: Path) -> Path:
    """The story as a run's files."""
    history = story.history()
    fields = [("p", "process"), ("i", "number"), ("t", "at_ns"), ("ty", "kind"), ("f", "verb")]
    for op in history.ops:
        record = {short: getattr(op, name) for short, name in fields} | op.data
        with (directory / f"{op.process}.jsonl").open("ab") as file:
            file.write(orjson.dumps(record) + b"\n")
    (directory / "truth.ndjson").write_bytes(b"".join(orjson.dumps(change) + b"\n" for change in history.changes))
    (directory / "rows.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in history.rows.values()))
    (directory / "params.json").write_bytes(orjson.dumps(history.params))
    return directory


def run_checker(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.check", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2])


def test_the_program_judges_files_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    done = run_checker(written(plain(), tmp_path))
    assert (done.returncode, done.stderr) == (PASSED, "")
    assert "PASSED" in done.stdout
    assert orjson.loads((tmp_path / "report.json").read_bytes())["verdict"] == "passed"
    assert orjson.loads((tmp_path / "report.json").read_bytes())["counters"]["settle_refused"] == 1


def test_a_line_cut_off_by_a_kill_is_left_out_and_one_in_the_middle_is_a_fault(tmp_path: Path) -> None:
    directory = written(plain(), tmp_path)
    with (directory / "w1.jsonl").open("ab") as file:
        file.write(b'{"p": "w1", "i": 99')
    assert judge(load(directory)).code == PASSED
    with (directory / "w1.jsonl").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(BrokenHistory, match=r"w1\.jsonl"):
        load(directory)


def test_an_empty_history_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_bytes(b"{}")
    done = run_checker(tmp_path)
    assert done.returncode == FAILED
    assert "no process recorded anything" in done.stderr
