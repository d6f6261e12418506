"""Handlers reach their tenant's files and nothing beside them; each guard lets through and refuses."""

from __future__ import annotations

import gc
import io
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from jobqueue.worker import files as files_module
from jobqueue.worker.files import NAME_BYTES_MAX, PATH_DEPTH_MAX, FileRefused, Files
from jobqueue.worker.handler import Context
from jobqueue.worker.registry import HandlerSpec, Registry
from tests.fakes.backend import FakeEngine
from tests.unit.worker.harness import working


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "files" / "demo" / "in").mkdir(parents=True)
    (tmp_path / "files" / "demo" / "in" / "a.txt").write_text("inside")
    (tmp_path / "files" / "other").mkdir()
    (tmp_path / "files" / "other" / "a.txt").write_text("another tenant's")
    (tmp_path / "secret.txt").write_text("outside")
    return tmp_path / "files"


@pytest.fixture
def files(root: Path) -> Files:
    return Files(str(root), "demo")


def read(files: Files, path: str) -> str:
    with files.read(path) as file:
        return file.read().decode()


def write(files: Files, path: str, text: str = "new") -> None:
    with files.write(path) as file:
        file.write(text.encode())


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_file_is_read_and_written_with_its_directories(files: Files, root: Path) -> None:
    write(files, "out/deep/b.txt", "made")
    assert read(files, "in/a.txt") == "inside"
    assert (root / "demo/out/deep/b.txt").read_text() == "made"
    assert names(root / "demo/out/deep") == ["b.txt"]


def test_directory_of_a_new_tenant_is_made_by_its_first_write(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(Files(str(root), "new"), "a.txt")
    assert not (root / "new").exists()
    write(Files(str(root), "new"), "a.txt")
    assert (root / "new/a.txt").read_text() == "new"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "..", "../other/a.txt", "in/../in/a.txt", "in/../../other/a.txt", "./in/a.txt", "in//a.txt", "in/", "in/.",
        "a\0b", "in\n", "\x7f", "\ud800", "x" * (NAME_BYTES_MAX + 1), "ä" * 128, "a/" * PATH_DEPTH_MAX + "a", ".jobqueue-1.part",
    ],
)  # fmt: skip
def test_path_that_is_not_one_below_the_tenant_is_refused(files: Files, root: Path, path: str) -> None:
    with pytest.raises(FileRefused):
        read(files, path)
    with pytest.raises(FileRefused):
        write(files, path)
    assert names(root) == ["demo", "other"]
    assert names(root / "demo") == ["in"]


@pytest.mark.parametrize(
    "path",
    ["...", "..a", "a..", " ", "in/ä b.csv", "a\\..\\b", "x" * NAME_BYTES_MAX, "a/" * (PATH_DEPTH_MAX - 1) + "a", "~", "$HOME", "C:x"],
)
def test_odd_path_below_the_tenant_is_taken_as_it_is(files: Files, path: str) -> None:
    write(files, path, "here")
    assert read(files, path) == "here"


@pytest.mark.parametrize("tenant", ["", ".", "..", "a/b", "../x", "a\0"])
def test_tenant_that_is_no_single_name_is_refused(root: Path, tenant: str) -> None:
    for path in ("a.txt", "demo/in/a.txt"):
        with pytest.raises((FileRefused, FileNotFoundError)):
            read(Files(str(root / "other"), tenant), path)


@pytest.mark.parametrize("target", ["../../secret.txt", "in/a.txt", "nowhere"])
def test_link_in_the_place_of_a_file_is_not_followed(files: Files, root: Path, target: str) -> None:
    link = root / "demo/link"
    link.symlink_to(target)
    with pytest.raises(FileRefused, match="link"):
        read(files, "link")
    with pytest.raises(FileRefused, match="not a plain file"):
        write(files, "link")
    assert link.is_symlink()
    assert (root.parent / "secret.txt").read_text() == "outside"
    assert read(files, "in/a.txt") == "inside"


@pytest.mark.parametrize("target", ["..", "../other", "in", "/"])
def test_link_in_the_place_of_a_directory_is_not_followed(files: Files, root: Path, target: str) -> None:
    (root / "demo/way").symlink_to(target, target_is_directory=True)
    for act in (read, write):
        with pytest.raises(FileRefused, match="leads over a link"):
            act(files, "way/a.txt")
    assert (root / "other/a.txt").read_text() == "another tenant's"


def test_link_in_the_place_of_the_tenant_is_not_followed(root: Path) -> None:
    (root / "linked").symlink_to("other", target_is_directory=True)
    with pytest.raises(FileRefused, match="link"):
        read(Files(str(root), "linked"), "a.txt")


def test_files_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(root, target_is_directory=True)
    assert read(Files(str(tmp_path / "mount"), "demo"), "in/a.txt") == "inside"


def test_file_with_a_second_name_is_refused_and_one_with_one_is_read(files: Files, root: Path) -> None:
    os.link(root.parent / "secret.txt", root / "demo/hard")
    with pytest.raises(FileRefused, match="2 names"):
        read(files, "hard")
    (root.parent / "secret.txt").unlink()
    assert read(files, "hard") == "outside"


def test_writing_over_a_second_name_leaves_the_other_one_alone(files: Files, root: Path) -> None:
    os.link(root.parent / "secret.txt", root / "demo/hard")
    write(files, "hard", "mine")
    assert (root.parent / "secret.txt").read_text() == "outside"
    assert read(files, "hard") == "mine"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, Path.mkdir])
def test_what_is_not_a_plain_file_is_refused_without_waiting(files: Files, root: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "demo")  # a socket's path is short
    make(Path("odd"))
    with pytest.raises(FileRefused, match="not a plain file"):
        read(files, "odd")
    with pytest.raises(FileRefused, match="not a plain file"):
        write(files, "odd")
    with pytest.raises(FileRefused):
        read(files, "odd/a.txt") if not Path("odd").is_dir() else read(files, "odd")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [make_pipe, lambda path: path.symlink_to("../../secret.txt")])
def test_file_replaced_between_look_and_open_is_refused(files: Files, root: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interleaving: stat sees a plain file, then the name is given to something else, then it is opened."""
    look = files_module._check_regular
    looks = 0

    def look_then_replace(path: str, found: os.stat_result) -> None:
        nonlocal looks
        look(path, found)
        looks += 1
        if looks == 1:
            (root / "demo/in/a.txt").unlink()
            make(root / "demo/in/a.txt")

    monkeypatch.setattr(files_module, "_check_regular", look_then_replace)
    with pytest.raises(FileRefused):
        read(files, "in/a.txt")


def test_directory_replaced_by_a_link_while_a_file_is_written_leads_nowhere_else(files: Files, root: Path) -> None:
    with files.write("in/b.txt") as file:
        (root / "demo/in").rename(root / "demo/moved")
        (root / "demo/in").symlink_to("../other", target_is_directory=True)
        file.write(b"new")
    assert names(root / "other") == ["a.txt"]
    assert (root / "demo/moved/b.txt").read_text() == "new"


def test_name_taken_by_a_directory_while_a_file_is_written_is_refused(files: Files, root: Path) -> None:
    def write_while_it_is_taken() -> None:
        with files.write("in/b") as file:
            file.write(b"new")
            (root / "demo/in/b").mkdir()

    with pytest.raises(FileRefused):
        write_while_it_is_taken()
    assert names(root / "demo/in") == ["a.txt", "b"]


@pytest.mark.slow
def test_walker_racing_a_swapper_never_reads_outside(files: Files, root: Path) -> None:
    """A thread swaps a directory and a link out of the tenant's; a read gives what is inside or is refused."""
    (root / "demo/way").mkdir()
    (root / "demo/way/a.txt").write_text("inside")
    (root / "demo/link").symlink_to("../other", target_is_directory=True)
    stop = threading.Event()

    def swap() -> None:
        way, link, spare = root / "demo/way", root / "demo/link", root / "demo/spare"
        while not stop.is_set():
            way.rename(spare)
            link.rename(way)
            way.rename(link)
            spare.rename(way)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: dict[str, int] = {}
    try:
        for _ in range(3_000):
            try:
                found = read(files, "way/a.txt")
            except (FileRefused, FileNotFoundError) as error:
                found = type(error).__name__
            seen[found] = seen.get(found, 0) + 1
    finally:
        stop.set()
        swapper.join()
    assert set(seen) <= {"inside", "FileRefused", "FileNotFoundError"}


def test_reader_sees_the_old_file_until_the_new_one_is_whole(files: Files, root: Path) -> None:
    with files.write("in/a.txt") as file:
        file.write(b"half")
        file.flush()
        assert read(files, "in/a.txt") == "inside"
    assert read(files, "in/a.txt") == "half"


def test_failed_write_changes_nothing_and_leaves_nothing(files: Files, root: Path) -> None:
    def write_half() -> None:
        with files.write("in/a.txt") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert read(files, "in/a.txt") == "inside"
    assert names(root / "demo/in") == ["a.txt"]


def test_what_a_failed_write_left_in_its_buffer_reaches_no_other_file(files: Files, root: Path) -> None:
    kept: list[BinaryIO] = []

    def write_half() -> None:
        with files.write("b.txt") as file:
            kept.append(file)
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    innocent = [os.open(root / "demo" / "in" / "a.txt", os.O_RDWR) for _ in range(2)]  # they get the numbers that became free
    try:
        is_closed = kept.pop().closed
        gc.collect()
    finally:
        for fd in innocent:
            os.close(fd)
    assert read(files, "in/a.txt") == "inside"
    assert is_closed


def test_wrapper_around_a_file_may_close_it(files: Files) -> None:
    with files.write("b.txt") as file, io.TextIOWrapper(file, encoding="utf-8") as text:
        text.write("wrapped")
    assert read(files, "b.txt") == "wrapped"


def test_file_of_the_bound_is_read_and_written_and_a_larger_one_is_refused(files: Files, root: Path) -> None:
    with files.write("b.txt", bytes_max=6) as file:
        file.write(b"abc")
        file.flush()
        file.write(b"def")
    with files.read("b.txt", bytes_max=6) as file:
        assert file.read() == b"abcdef"
    with pytest.raises(FileRefused, match="more than 5"), files.read("b.txt", bytes_max=5):
        pass
    with pytest.raises(FileRefused, match="more than 5"), files.write("c.txt", bytes_max=5) as file:
        file.write(b"abcdef")
    assert names(root / "demo") == ["b.txt", "in"]


def test_without_a_directory_every_use_is_refused_naming_the_setting() -> None:
    files = Files(None, "demo")
    for act in (read, write):
        with pytest.raises(FileRefused, match="JOBQUEUE_FILES_DIR is not set"):
            act(files, "a.txt")


def test_missing_file_is_told_by_the_path_the_job_gave(files: Files, root: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read(files, "in/no.txt")
    assert caught.value.filename == "in/no.txt"
    assert str(root) not in str(caught.value)


def test_no_descriptor_is_left_open(files: Files, root: Path) -> None:
    (root / "demo/way").symlink_to("in")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("in/a.txt", "in/no.txt", "way/a.txt", "in", "../x", "no/a.txt"):
        for act in (read, write) if path == "in/a.txt" else (read,):
            with suppress(FileRefused, OSError):
                act(files, path)
    with pytest.raises(FileRefused):
        write(files, "way/a.txt")
    assert len(os.listdir("/proc/self/fd")) == before


def copy_plain(ctx: Context, source: str, target: str) -> str:
    with ctx.files.read(source) as file:
        text = file.read()
    with ctx.files.write(target) as file:
        file.write(text)
    return text.decode()


async def copy_async(ctx: Context, source: str, target: str) -> str:
    return copy_plain(ctx, source, target)


@pytest.mark.parametrize("is_isolated", [False, True])
@pytest.mark.parametrize("function", [copy_plain, copy_async])
async def test_handler_has_its_tenants_files_in_every_kind_of_run(
    engine: FakeEngine, registry: Registry, root: Path, function: Any, is_isolated: bool
) -> None:
    registry.add(HandlerSpec("copy", function, is_isolated=is_isolated))
    good = engine.submit("copy", {"source": "in/a.txt", "target": "out/b.txt"})
    bad = engine.submit("copy", {"source": "../other/a.txt", "target": "b.txt"})
    async with working(engine, registry, files_dir=str(root)):
        assert (await engine.until_status(good, "succeeded")).result == "inside"
        failure = (await engine.until_status(bad, "dlq")).outcome.failure
    assert (root / "demo/out/b.txt").read_text() == "inside"
    assert failure is not None
    assert failure.type == "FileRefused"
    assert failure.traceback is None


@pytest.mark.parametrize("is_isolated", [False, True])
async def test_worker_without_a_files_directory_buries_the_job_saying_so(engine: FakeEngine, registry: Registry, is_isolated: bool) -> None:
    registry.add(HandlerSpec("copy", copy_plain, is_isolated=is_isolated))
    job_id = engine.submit("copy", {"source": "a", "target": "b"})
    async with working(engine, registry):
        failure = (await engine.until_status(job_id, "dlq")).outcome.failure
    assert failure is not None
    assert "JOBQUEUE_FILES_DIR is not set" in failure.message
