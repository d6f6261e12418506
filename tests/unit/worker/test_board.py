"""The board: what an understudy reads is what the worker holds, and a mark counts for the lease it is for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest

from jobqueue.aio.clock import SystemClock
from jobqueue.domain.lease import SELF_FENCE_MARGIN_S
from jobqueue.worker.board import BLOCKS, JOBS_MAX, Board, PostedBoard, is_available
from jobqueue.worker.run import Book, Run
from jobqueue.worker.understudy import Understudy
from tests.fakes.backend import FakeEngine

pytestmark = pytest.mark.skipif(not is_available(), reason="needs Linux: memory shared by a descriptor, and /proc")


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.close()


def held(count: int, *, sent_at: float = 0.0) -> list[Run]:
    engine = FakeEngine()
    for _ in range(count):
        engine.submit("any", timeout_s=60)
    return [Run(lease, sent_at=sent_at) for lease in engine.take(count)]


def posted(board: Board) -> dict[UUID, tuple[int, UUID]]:
    return {job: (place, token) for place, job, token in PostedBoard(board.fd).leases()}


def test_what_is_posted_is_read_and_what_is_taken_down_is_not(board: Board) -> None:
    first, second = held(3), held(JOBS_MAX)
    board.post(first)
    board.post(second)
    assert posted(board) == {run.lease.job_id: (run.place, run.lease.token) for run in first + second}
    for run in first:
        board.take_down(run)
    assert posted(board).keys() == {run.lease.job_id for run in second}
    assert [run.place for run in first] == [0, 0, 0]


def test_a_block_is_used_again_only_when_all_of_it_are_gone(board: Board) -> None:
    runs = held(2)
    board.post(runs)
    place = runs[0].place
    board.take_down(runs[0])
    board.post(other := held(1))
    assert other[0].place != place
    board.take_down(runs[1])
    board.post(again := held(1))
    assert again[0].place == place


def test_more_claims_than_blocks_are_not_posted_and_no_harm_is_done(board: Board) -> None:
    claims = [held(1) for _ in range(BLOCKS + 1)]
    for runs in claims:
        board.post(runs)
    assert claims[-1][0].place == 0
    assert board.marked_at(claims[-1][0]) is None
    for runs in claims:
        board.take_down(runs[0])
    assert posted(board) == {}


def test_a_mark_counts_for_its_lease_and_for_no_later_one_in_its_place(board: Board) -> None:
    run, beside = held(2)
    board.post([run, beside])
    PostedBoard(board.fd).mark(run.place, run.lease.token, sent_at=7.0)
    assert (board.marked_at(run), board.marked_at(beside)) == (7.0, None)
    place, token = run.place, run.lease.token
    board.take_down(run)
    board.take_down(beside)
    board.post(later := held(1))
    assert later[0].place == place
    assert board.marked_at(later[0]) is None
    PostedBoard(board.fd).mark(place, token, sent_at=8.0)  # the understudy was late
    assert board.marked_at(later[0]) is None


def test_the_fence_falls_unless_the_understudy_renewed_the_lease(board: Board) -> None:
    book = Book(board)
    book.enter(runs := held(2, sent_at=100.0))
    run, beside = runs
    fence_at = 100.0 + run.lease.lease_s - SELF_FENCE_MARGIN_S
    assert not book.is_fenced(run, fence_at - 0.01)
    assert book.is_fenced(run, fence_at)
    PostedBoard(board.fd).mark(run.place, run.lease.token, sent_at=120.0)
    assert not book.is_fenced(run, fence_at + 19.99)
    assert book.is_fenced(run, fence_at + 20.0)
    assert book.is_fenced(beside, fence_at)
    book.drop_all(runs)
    assert posted(board) == {}


def test_without_a_board_the_fence_stands_alone() -> None:
    (run,) = held(1)
    book = Book()
    book.enter([run])
    assert book.is_fenced(run, run.fence_at)
    book.drop(run)


def test_the_pulse_is_read(board: Board) -> None:
    assert PostedBoard(board.fd).pulse_at == 0
    board.beat_pulse(12.5)
    assert PostedBoard(board.fd).pulse_at == 12.5


async def test_an_understudy_that_cannot_be_started_brings_no_worker_down(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    standing_by = asyncio.create_task(Understudy(board, b"", clock=SystemClock()).run())
    await asyncio.wait([standing_by], timeout=0.5)
    assert not standing_by.done()
    standing_by.cancel()
    await asyncio.wait([standing_by])
    assert standing_by.cancelled()
