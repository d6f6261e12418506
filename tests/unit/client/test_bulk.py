"""Batches and files."""

from pathlib import Path

import httpx2
import pytest

from jobqueue import AsyncClient, Client, NewJob
from jobqueue.client import bulk
from jobqueue.client.bulk import FileImport, batches
from jobqueue.domain.errors import InvalidFields

REPORT = {"created": 2, "replayed": 0, "conflicts": 0, "invalid": 0, "errors": []}


def job(size: int) -> NewJob:
    return NewJob(job_type="t", data={"x": "y" * size}, idempotency_key="k")


def test_batches_are_cut_by_number_and_bytes_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH_BYTES_MAX", 1_000)
    sizes = [10] * 7 + [2_000, 10, 900, 900]
    cut = list(batches((job(size) for size in sizes), batch_size=5))
    assert [len(batch) for batch in cut] == [5, 2, 1, 1, 1, 1]
    assert list(batches([], batch_size=5)) == []


def test_batches_are_lazy() -> None:
    cut = batches((job(1) for _ in iter(int, 1)), batch_size=3)
    assert len(next(cut)) == 3


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[httpx2.Request] = []

    def take(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        self.requests.append(request)
        self.bodies.append(body)
        if len(self.bodies) == 1:
            raise httpx2.ReadError("broke off")
        return httpx2.Response(200, json=REPORT)


def check(receiver: Receiver, told: list[tuple[int, int | None]]) -> None:
    assert receiver.bodies == [b"a,b\n1,2\n3,4\n"] * 2
    request = receiver.requests[-1]
    assert dict(request.url.params) == {"job_type": "t", "queue": "q", "priority": "low", "key_column": "a"}
    assert request.headers["content-type"] == "text/csv"
    assert told[-1] == (12, 12)


async def test_an_import_that_broke_off_starts_again_from_the_start(tmp_path: Path) -> None:
    path, receiver, told = tmp_path / "rows.csv", Receiver(), []
    path.write_bytes(b"a,b\n1,2\n3,4\n")

    async def answer(request: httpx2.Request) -> httpx2.Response:
        return receiver.take(request, await request.aread())

    async with AsyncClient("http://api", api_key="k", transport=httpx2.MockTransport(answer)) as queue:
        report = await queue.import_file(
            path, job_type="t", queue="q", priority="low", key_column="a", on_progress=lambda *done: told.append(done)
        )
    assert report.created == 2
    check(receiver, told)


def test_the_blocking_import_does_the_same(tmp_path: Path) -> None:
    path, receiver, told = tmp_path / "rows.CSV", Receiver(), []
    path.write_bytes(b"a,b\n1,2\n3,4\n")
    transport = httpx2.MockTransport(lambda request: receiver.take(request, request.read()))
    with Client("http://api", api_key="k", transport=transport) as queue:
        queue.import_file(path, job_type="t", queue="q", priority="low", key_column="a", on_progress=lambda *done: told.append(done))
    check(receiver, told)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"")
    with pytest.raises(InvalidFields):
        FileImport.of(path, job_type="t", queue="q", priority="low", key_column=None, file_format=None)
    assert FileImport.of(path, job_type="t", queue="q", priority="low", key_column=None, file_format="jsonl").media_type.endswith("ndjson")
