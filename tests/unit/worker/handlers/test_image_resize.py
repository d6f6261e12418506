"""The handler `image_resize`: the picture asked for, and no more memory or files than that takes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.unit.worker.handlers.csv_jobs import SPECS, FakeContext
from tests.unit.worker.handlers.running import failure, run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files directory, with a picture of 400 x 200: left half red, right half blue."""
    (tmp_path / "demo").mkdir()
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste("blue", (200, 0, 400, 200))
    picture.save(tmp_path / "demo/a.png")
    return tmp_path


def resize(root: Path, **data: Any) -> Any:
    """Call the handler as its own process would."""
    return SPECS["image_resize"].function(FakeContext(root), **{"path": "a.png", "output": "b.png", **data})


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 100}, (100, 50)),
        ({"height": 100}, (200, 100)),
        ({"width": 100, "height": 100}, (100, 50)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "stretch"}, (100, 100)),
        ({"width": 800}, (400, 200)),
        ({"width": 800, "enlarge": True}, (800, 400)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_picture_has_the_size_asked_for(root: Path, asked: dict[str, Any], size: tuple[int, int]) -> None:
    result = resize(root, **asked)
    with Image.open(root / "demo/b.png") as made:
        assert made.size == (result["width"], result["height"]) == size
    assert result["bytes"] == (root / "demo/b.png").stat().st_size
    assert result["from"] == {"width": 400, "height": 200}


def test_cover_cuts_and_stretch_does_not(root: Path) -> None:
    resize(root, width=200, height=200, fit="cover")
    resize(root, width=200, height=200, fit="stretch", output="c.png")
    for name in ("b.png", "c.png"):
        with Image.open(root / "demo" / name) as made:
            assert made.getpixel((20, 100)) == (255, 0, 0)
            assert made.getpixel((180, 100)) == (0, 0, 255)


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP"), ("gif", "GIF"), ("png", "PNG")])
def test_suffix_says_the_format(root: Path, suffix: str, kind: str) -> None:
    resize(root, width=40, output=f"small/b.{suffix}")
    with Image.open(root / f"demo/small/b.{suffix}") as made:
        assert made.format == kind


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_usual_kind_of_pixel_is_taken(root: Path, mode: str) -> None:
    Image.new(mode, (40, 40)).save(root / "demo/m.tiff")
    for output in ("m.png", "m.jpg"):
        assert resize(root, path="m.tiff", width=20, output=output)["width"] == 20


def test_turn_noted_by_the_camera_is_applied_and_the_rest_of_the_metadata_goes(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    Image.new("RGB", (40, 20)).save(root / "demo/turned.jpg", exif=exif)
    assert (resize(root, path="turned.jpg", width=10, output="t.jpg")["height"]) == 20
    with Image.open(root / "demo/t.jpg") as made:
        assert dict(made.getexif()) == {}


async def test_job_runs_in_a_process_of_its_own(root: Path) -> None:
    job = await run("image_resize", {"path": "a.png", "output": "b.jpg", "width": 100}, files_dir=str(root))
    assert (job.status, job.result["format"], job.result["height"]) == ("succeeded", "jpeg", 50)


def png_that_claims(width: int, height: int) -> bytes:
    """A header of that size with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_000, 10_000), (8_000, 6_500), (2**31 - 1, 1)])
async def test_small_file_that_stands_for_a_huge_picture_is_refused_by_its_header(root: Path, width: int, height: int) -> None:
    (root / "demo/bomb.png").write_bytes(png_that_claims(width, height))
    status, kind, message = failure(await run("image_resize", {"path": "bomb.png", "output": "b.png", "width": 9}, files_dir=str(root)))
    assert (status, kind) == ("dlq", "Discard")
    assert "50000000" in message.replace(",", "")
    assert not (root / "demo/b.png").exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"<svg/>", b"%PDF-1.7", b"%!PS", b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, png_that_claims(100, 100)],
)
async def test_file_that_is_no_picture_buries_the_job(root: Path, data: bytes) -> None:
    (root / "demo/bad.png").write_bytes(data)
    with pytest.raises(Exception, match=r"is no picture that can be read"):
        resize(root, path="bad.png", width=9)
    assert not (root / "demo/b.png").exists()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"output": "b.svg", "width": 9}, "ArgumentError"),
        ({}, "ArgumentError"),
        ({"width": 9, "fit": "cover"}, "ArgumentError"),
        ({"width": 9, "path": "../a.png"}, "FileRefused"),
        ({"width": 9, "output": "/etc/b.png"}, "FileRefused"),
        ({"width": 10_000, "height": 10_000, "fit": "stretch"}, "Discard"),
    ],
)
def test_what_cannot_be_made_is_refused(root: Path, data: dict[str, Any], kind: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is what is compared
        resize(root, **data)
    assert type(caught.value).__name__ == kind
