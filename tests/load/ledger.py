"""What a load test asked for, and the verdict on what became of it. Pure: no I/O, nothing of locust.

A key is written down before it is sent, an id when an answer brings it. At the end the jobs that are there are held against the book: each
acknowledged id is there once, each key has one job, nothing is there that nobody sent, everything has ended and ran once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

GOOD_ENDS = {"succeeded", "cancelled"}
SHOWN_MAX = 5


@dataclass
class Ledger:
    """The book of one run. Every key in it begins with the run's name."""

    run: str
    sent: set[str] = field(default_factory=set)
    ids: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: Counter[str] = field(default_factory=Counter)
    _count: int = 0

    def new_key(self) -> str:
        """Make a key that was never used, and write it down as sent."""
        self._count += 1
        key = f"{self.run}-{self._count}"
        self.sent.add(key)
        return key

    def answered(self, key: str, job_id: str) -> None:
        """An answer said that the key has this job."""
        assert key in self.sent
        self.ids[key].add(job_id)

    @property
    def acknowledged(self) -> set[str]:
        """All ids that answers brought."""
        return {job_id for ids in self.ids.values() for job_id in ids}


@dataclass(frozen=True)
class Verdict:
    """What the end check found; good when faults is empty."""

    sent: int
    acknowledged: int
    found: int
    by_status: Mapping[str, int]
    faults: list[str]

    def tell(self) -> str:
        """One line, then one a fault."""
        counts = ", ".join(f"{number} {status}" for status, number in sorted(self.by_status.items()))
        head = f"{self.sent} keys sent, {self.acknowledged} acknowledged, {self.found} jobs there ({counts})"
        return "\n".join([f"{head}: " + ("WRONG" if self.faults else "none doubled, none vanished, each ran once"), *self.faults])


def judge(ledger: Ledger, jobs: Iterable[Mapping[str, Any]]) -> Verdict:
    """Hold the jobs that are there, as the API lists them, against the book."""
    jobs = list(jobs)
    listed = Counter(job["id"] for job in jobs)
    keys = Counter(job["idempotency_key"] for job in jobs)
    faults = [
        *told("a key with several jobs", (key for key, ids in ledger.ids.items() if len(ids) > 1)),
        *told("a key with several jobs in the list", (key for key, count in keys.items() if count > 1)),
        *told("a job listed several times", (job_id for job_id, count in listed.items() if count > 1)),
        *told("acknowledged and vanished", ledger.acknowledged - set(listed)),
        *told("there without having been sent", set(keys) - ledger.sent),
        *told("under another key than acknowledged", misfiled(ledger, jobs)),
        *told("not ended", (job["id"] for job in jobs if job["finished_at"] is None)),
        *told("ended badly", (f"{job['id']} {job['status']}" for job in jobs if job["finished_at"] and job["status"] not in GOOD_ENDS)),
        *told("ran more than once", (job["id"] for job in jobs if job["attempt"] > 1)),
    ]
    by_status = Counter(job["status"] for job in jobs)
    return Verdict(len(ledger.sent), len(ledger.acknowledged), len(jobs), by_status, faults)


def misfiled(ledger: Ledger, jobs: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    owners = {job_id: key for key, ids in ledger.ids.items() for job_id in ids}
    return (job["id"] for job in jobs if owners.get(job["id"], job["idempotency_key"]) != job["idempotency_key"])


def told(what: str, which: Iterable[str]) -> list[str]:
    """One line for all of a kind, none for none."""
    found = sorted(which)
    return [f"{what}: {len(found)}: {', '.join(found[:SHOWN_MAX])}"] if found else []
